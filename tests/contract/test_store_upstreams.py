"""Several upstreams in one store: which gets a job, what a probe changes, and what is nobody's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foreman.domain.job import Claim, JobFailure, NoClaim
from foreman.domain.lifecycle import Cause, State
from foreman.domain.upstream import Slots, Status, Survey
from foreman.store.claims import Claims
from foreman.store.upstreams import Upstreams
from tests.stores import BOOM, LEASE_MS, POLICY, T0, Stores, quiet, request, together

GONE = JobFailure(Cause.UPSTREAM_UNREACHABLE, "The upstream refused the connection.")

ONE, TWO = Slots("one", 1), Slots("two", 2)


def claims(stores: Stores, *upstreams: Slots) -> Claims:
    """Claims over these upstreams."""
    return Claims(stores.outbox, upstreams, POLICY, LEASE_MS)


def taken(over: Claims, at: int = T0) -> Claim:
    """A claim; fails where there is none."""
    claim = over.claim(at)
    assert isinstance(claim, Claim)
    return claim


def test_jobs_spread_over_all_upstreams_up_to_their_slots(stores: Stores) -> None:
    """Eight at once get three, one here and two there, and the next goes where one ends."""
    over = claims(stores, ONE, TWO)
    for _ in range(5):
        stores.submit(quiet())
    got = [each for each in together(8, lambda _: over.claim(T0)) if isinstance(each, Claim)]
    assert sorted(each.upstream for each in got) == ["one", "two", "two"]
    assert {each.name: each.used for each in Upstreams((ONE, TWO)).standings()} == {"one": 1, "two": 2}
    freed = next(each for each in got if each.upstream == "one")
    over.fail(freed, BOOM, T0)
    assert taken(over).upstream == "one"
    assert over.claim(T0) == NoClaim()


def test_a_job_goes_where_a_probe_found_its_model(stores: Stores) -> None:
    """And waits for a slot there, while others pass it."""
    over = claims(stores, ONE, TWO)
    Upstreams((ONE, TWO)).record({"one": Survey(("a", "c")), "two": Survey(("b",))}, T0)
    first = stores.submit(quiet(model="a"), at=T0)
    waits = stores.submit(quiet(model="a"), at=T0 + 1)
    passes = stores.submit(quiet(model="b"), at=T0 + 2)
    assert [(each.job.id, each.upstream) for each in (taken(over, T0 + 9), taken(over, T0 + 9))] == [
        (first.id, "one"),
        (passes.id, "two"),
    ]
    assert over.claim(T0 + 9) == NoClaim()
    assert stores.jobs.get(waits.id).state is State.QUEUED


def test_a_job_that_was_refused_goes_elsewhere_at_once(stores: Stores) -> None:
    """The wait is the upstream's that refused; with nowhere else to go it is the job's too."""
    over = claims(stores, ONE, TWO)
    stores.submit(quiet())
    refused = taken(over)
    assert refused.upstream == "one"
    over.hold("one", T0 + 5000)
    assert over.next_try(refused, T0) == T0
    over.retry(refused, T0, counted=False, avoid=True)
    again = taken(over)
    assert (again.job.id, again.upstream, again.job.attempt) == (refused.job.id, "two", 1)
    over.hold("two", T0 + 9000)
    assert over.next_try(again, T0) == T0 + 5000


def test_a_job_that_failed_goes_elsewhere_next_time(stores: Stores) -> None:
    """Even though its model is in memory where it failed."""
    over = claims(stores, ONE, TWO)
    stores.submit(quiet())
    failed = taken(over)
    over.retry(failed, T0 + 1000, counted=True, avoid=True)
    assert taken(over, T0 + 1000).upstream != failed.upstream


def test_a_probe_that_is_answered_brings_an_upstream_and_its_jobs_back(stores: Stores) -> None:
    """They do not wait for the end of a hold of a minute; a job between two runs of its own does."""
    over, upstreams = claims(stores, ONE), Upstreams((ONE,))
    refused = stores.submit(quiet())
    claim = taken(over)
    over.hold("one", T0 + 60_000)
    over.retry(claim, over.next_try(claim, T0), counted=False, avoid=True)
    upstreams.record({"one": GONE}, T0 + 1)
    assert over.claim(T0 + 1) == NoClaim()
    [before] = upstreams.record({"one": Survey(("smol",))}, T0 + 2)
    assert (before.error, before.held_until, before.failures) == (GONE, T0 + 60_000, 1)
    again = taken(over, T0 + 2)
    assert (again.job.id, again.upstream_failures) == (refused.id, 0)
    over.retry(again, T0 + 4000, counted=True, avoid=True)
    upstreams.record({"one": Survey(("smol",))}, T0 + 3)
    assert over.claim(T0 + 3) == NoClaim()


def test_a_probe_does_not_end_the_hold_of_an_upstream_that_is_too_busy(stores: Stores) -> None:
    """It said when to come again."""
    over, upstreams = claims(stores, ONE), Upstreams((ONE,))
    over.hold("one", T0 + 60_000, Cause.UPSTREAM_ERROR)
    upstreams.record({"one": Survey()}, T0 + 1)
    [seen] = upstreams.standings()
    assert (seen.status(T0 + 2), seen.held_for) == (Status.HELD, Cause.UPSTREAM_ERROR)


def test_an_upstream_that_is_down_gets_jobs_that_no_other_can_run(stores: Stores) -> None:
    """What a probe finds keeps no job from being tried: it may be the probe that is wrong."""
    over, upstreams = claims(stores, ONE, TWO), Upstreams((ONE, TWO))
    upstreams.record({"one": Survey(("a", "b")), "two": Survey(("b",))}, T0)
    upstreams.record({"one": GONE}, T0 + 1)
    stores.submit(quiet(model="b"))
    stores.submit(quiet(model="b"))
    assert [taken(over, T0 + 2).upstream, taken(over, T0 + 2).upstream] == ["two", "two"]
    stores.submit(quiet(model="a"), at=T0 + 2)
    assert taken(over, T0 + 2).upstream == "one"


def test_what_a_probe_found_is_what_is_told(stores: Stores) -> None:
    """One that fails leaves the models that there were, not those in memory; only configured upstreams are told."""
    upstreams = Upstreams((ONE, TWO))
    assert [(each.name, each.checked_at) for each in upstreams.standings()] == [("one", None), ("two", None)]
    upstreams.record({"one": Survey(("a",), ("a",)), "two": Survey()}, T0)
    upstreams.record({"one": replace(GONE, upstream_status=502)}, T0 + 5)
    first, second = upstreams.standings()
    assert (first.checked_at, first.error) == (T0 + 5, replace(GONE, upstream_status=502))
    assert first.survey == Survey(("a",), ())
    assert (second.checked_at, second.error, second.survey) == (T0, None, Survey())
    stores.submit(quiet())
    taken(claims(stores, ONE, TWO))
    assert [each.used for each in upstreams.standings()] == [0, 1]
    assert [each.name for each in Upstreams((TWO,)).standings()] == ["two"]


def test_a_load_makes_the_list_of_models_in_memory_void(stores: Stores) -> None:
    """The new model may have pushed any of them out; the next probe tells."""
    over, upstreams = claims(stores, ONE), Upstreams((ONE,))
    upstreams.record({"one": Survey(None, ("a", "b"))}, T0)
    stores.submit(quiet(model="b"))
    over.fail(taken(over), BOOM, T0)
    assert upstreams.standings()[0].survey.loaded == ("a", "b")
    stores.submit(quiet(model="c"))
    over.fail(taken(over), BOOM, T0)
    [seen] = upstreams.standings()
    assert (seen.model, seen.streak, seen.survey.loaded) == ("c", 1, ())


def test_jobs_go_on_with_any_model_in_memory(stores: Stores) -> None:
    """Names as jobs write them: no tag is ``:latest``."""
    over, upstreams = claims(stores, ONE), Upstreams((ONE,))
    upstreams.record({"one": Survey(None, ("a:latest", "b:latest"))}, T0)
    ids = [stores.submit(quiet(model=model), at=T0 + at).id for at, model in enumerate(["c", "b", "a:latest"])]
    ran = []
    for _ in ids:
        claim = taken(over, T0 + 9)
        ran.append(claim.job.id)
        over.fail(claim, BOOM, T0 + 9)
    assert ran == [ids[1], ids[2], ids[0]]


@pytest.mark.parametrize("retried", [False, True])
def test_a_job_that_no_upstream_may_be_asked_for_fails(stores: Stores, *, retried: bool) -> None:
    """With the reason, and announced; the others stay."""
    over = claims(stores, Slots("one", 1, ("a*",)), Slots("two", 1, ("b",)))
    job = stores.submit(request(model="c"))
    if retried:
        stores.claims.retry(stores.claim(), T0 + 1000, counted=True)
    stays = [stores.submit(quiet(model=model)) for model in ("a1", "b")]
    [failed] = over.unplaceable(T0 + 5)
    assert failed.id == job.id
    assert failed.failure == JobFailure(Cause.MODEL_NOT_FOUND, 'No upstream may be asked for the model "c".')
    assert [state for state, _ in stores.statuses(job.id)] == ["queued", "failed"]
    assert {stores.jobs.get(each.id).state for each in stays} == {State.QUEUED}
    assert over.unplaceable(T0 + 5) == []
    assert claims(stores, Slots("one", 1, ("z",)), TWO).unplaceable(T0 + 5) == []
