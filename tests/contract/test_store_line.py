from __future__ import annotations

from dataclasses import dataclass

import pytest

from foreman.domain.estimate import Times
from foreman.domain.job import Claim, Job, Priority, Spent
from foreman.domain.lifecycle import State
from foreman.domain.upstream import Slots
from foreman.store import database, timings
from foreman.store.claims import Claims
from foreman.store.line import Line, Outlook
from tests.stores import BOOM, LEASE_MS, POLICY, T0, UPSTREAM, Engine, Stores, completion, quiet

RUN_MS, LOAD_MS = 4_000.0, 30_000.0


@pytest.fixture
def one(engine: Engine) -> Stores:
    """Stores whose upstream has one slot."""
    return Stores(slots=1)


def measured(stores: Stores, *models: str, run_ms: float = RUN_MS, load_ms: float | None = LOAD_MS) -> None:
    """A job for each of ``models``, done long ago, of which the last is in memory since."""
    for model in models:
        claim = stores.working(quiet(model=model), at=T0 - 100_000)
        made = completion(claim.job.id)
        stores.claims.complete(claim, made, {}, T0 - 100_000, Spent(load_ms, run_ms))
        stores.artifacts.stored(made, None, T0 - 100_000)


def of(stores: Stores, job: Job, at: int = T0) -> Outlook:
    """What is told of a job now."""
    return stores.line.outlook(stores.jobs.get(job.id), at)


def run(stores: Stores, job: Job, *states: State, at: int) -> Claim:
    """Claim a job, which must be the next, and bring it to ``states``."""
    claim = stores.claim(at)
    assert claim.job.id == job.id
    for state in states:
        stores.claims.begin(claim, state, at)
    return claim


def known() -> dict[tuple[str, str], Times]:
    """What was measured."""
    with database.read():
        return timings.known([UPSTREAM, "other"], ["a", "b"])


# ------------------------------------------------------------------------------------------------------- position


def test_the_position_is_the_order_in_which_jobs_are_claimed(one: Stores) -> None:
    """Priority first, then the model in memory, then age."""
    measured(one, "a")
    batch = one.submit(quiet(model="a", priority=Priority.BATCH), at=T0)
    other = one.submit(quiet(model="b"), at=T0 + 1)
    first = one.submit(quiet(model="a"), at=T0 + 2)
    second = one.submit(quiet(model="a"), at=T0 + 2)
    quick = one.submit(quiet(model="c", priority=Priority.INTERACTIVE), at=T0 + 3)
    line_up = [quick, first, second, other, batch]
    assert [one.line.position(job, T0 + 4) for job in line_up] == [1, 2, 3, 4, 5]
    assert [of(one, job, T0 + 4).position for job in line_up] == [1, 2, 3, 4, 5]


def test_a_job_that_waits_for_its_next_run_has_its_place(one: Stores) -> None:
    """It is behind those that are ready before it, though it is older; and is counted by those behind it."""
    late = one.submit(quiet(), at=T0)
    one.claims.retry(one.claim(T0), T0 + 5_000, counted=False)
    soon = one.submit(quiet(), at=T0 + 1)
    assert (of(one, late, T0 + 2).position, of(one, soon, T0 + 2).position) == (2, 1)
    quick = one.submit(quiet(priority=Priority.BATCH), at=T0 + 1)
    assert of(one, quick, T0 + 2).position == 3


def test_a_job_that_is_not_queued_has_no_place_and_is_not_counted_unless_it_waits(one: Stores) -> None:
    """One that is being connected for is still queued, and has nobody before it."""
    running, waiting = one.submit(quiet(), at=T0), one.submit(quiet(), at=T0 + 1)
    claim = one.claim(T0 + 1)
    assert (of(one, running).position, of(one, waiting).position) == (1, 1)
    one.claims.begin(claim, State.LOADING, T0 + 2)
    assert (of(one, running).position, of(one, waiting).position) == (None, 1)
    one.claims.retry(claim, T0, counted=True)
    assert (of(one, running).position, of(one, waiting).position) == (None, 2)


def test_a_line_is_counted_so_far_and_no_further(one: Stores) -> None:
    """A place beyond it is not known, rather than dear."""
    short = Line(one.line.upstreams, POLICY, counted=3)
    jobs = [one.submit(quiet(), at=T0 + number) for number in range(3)]
    assert [short.position(job, T0 + 9) for job in jobs] == [1, 2, 3]
    more = one.submit(quiet(), at=T0 + 9)
    assert short.position(more, T0 + 9) is None
    assert short.outlook(more, T0 + 9) == Outlook(None, None)
    assert short.position(one.submit(quiet(priority=Priority.INTERACTIVE), at=T0 + 9), T0 + 9) == 1


# ------------------------------------------------------------------------------------------------------------ eta


def test_nothing_is_promised_before_anything_was_measured(one: Stores) -> None:
    """The place is known, the time is not; and a model that was measured does not help another."""
    job = one.submit(quiet(model="b"))
    assert of(one, job) == Outlook(1, None)
    one.claims.fail(one.claim(T0), BOOM, T0)
    measured(one, "a")
    job = one.submit(quiet(model="b"))
    assert of(one, job) == Outlook(1, None)


def test_the_wait_of_queued_jobs_is_what_is_ahead_of_them(one: Stores) -> None:
    """One slot, "a" in memory: 4 s each, and then 30 s for the other model, and its 4 s."""
    measured(one, "b", "a")
    first, second = one.submit(quiet(model="a")), one.submit(quiet(model="a"))
    other = one.submit(quiet(model="b"))
    assert [of(one, job) for job in (first, second, other)] == [Outlook(1, 4.0), Outlook(2, 8.0), Outlook(3, 42.0)]


def test_two_slots_halve_the_wait(stores: Stores) -> None:
    """Four jobs of 4 s: two at a time."""
    measured(stores, "a")
    jobs = [stores.submit(quiet(model="a")) for _ in range(4)]
    assert [of(stores, job).eta_s for job in jobs] == [4.0, 4.0, 8.0, 8.0]


def test_a_running_job_is_counted_by_what_is_left_of_it(one: Stores) -> None:
    """From the moment at which it came to ``working``, and 0 when it takes a little longer than expected."""
    measured(one, "a")
    running, waiting = one.submit(quiet(model="a")), one.submit(quiet(model="a"))
    run(one, running, State.LOADING, State.WORKING, at=T0)
    told = [(of(one, running, at).eta_s, of(one, waiting, at).eta_s) for at in (T0, T0 + 1_000, T0 + 6_000)]
    assert told == [(4.0, 8.0), (3.0, 7.0), (0.0, 4.0)]


def test_a_run_that_takes_twice_too_long_takes_the_promise_back(one: Stores) -> None:
    """Nobody knows when it ends, and so nobody knows when the one slot is free; a second slot would be."""
    measured(one, "a")
    running, waiting = one.submit(quiet(model="a")), one.submit(quiet(model="a"))
    run(one, running, State.LOADING, State.WORKING, at=T0)
    late = T0 + 2 * round(RUN_MS) + 1
    assert (of(one, running, late), of(one, waiting, late)) == (Outlook(None, None), Outlook(1, None))
    assert Stores(slots=2).line.outlook(waiting, late) == Outlook(1, 4.0)


def test_a_loading_job_has_its_load_before_it(one: Stores) -> None:
    """30 s and 4 s from the claim on, as for one that is only being connected for."""
    measured(one, "b", "a")
    job = one.submit(quiet(model="b"))
    claim = run(one, job, at=T0)
    assert of(one, job, T0 + 1_000) == Outlook(1, 33.0)
    one.claims.begin(claim, State.LOADING, T0 + 1_000)
    assert of(one, job, T0 + 2_000) == Outlook(None, 32.0)


def test_a_later_run_is_counted_from_its_own_claim(one: Stores) -> None:
    """The state shows ``working`` since the first one, which says nothing of this one."""
    measured(one, "a")
    job = one.submit(quiet(model="a"))
    claim = run(one, job, State.LOADING, State.WORKING, at=T0)
    one.claims.retry(claim, T0 + 10_000, counted=True)
    assert of(one, job, T0 + 7_000) == Outlook(None, 7.0), "3 s until it may be claimed, and 4 s"
    run(one, job, at=T0 + 10_000)
    assert of(one, job, T0 + 10_000) == Outlook(None, 34.0), "it may have to load"


def test_what_is_only_to_be_stored_is_as_good_as_done(one: Stores) -> None:
    """And what has ended has nothing before it."""
    claim = one.working(quiet())
    made = completion(claim.job.id)
    one.claims.complete(claim, made, {}, T0)
    assert of(one, claim.job) == Outlook(None, 0.0)
    one.artifacts.stored(made, None, T0)
    assert of(one, claim.job) == Outlook(None, None)


def test_an_upstream_that_is_held_promises_nothing(one: Stores) -> None:
    """Nobody knows when it is back; the order of the line stays known."""
    measured(one, "a")
    job = one.submit(quiet(model="a"))
    one.hold(T0 + 60_000)
    assert of(one, job) == Outlook(1, None)
    one.release()
    assert of(one, job) == Outlook(1, 4.0)


@dataclass(frozen=True)
class Pair:
    """Two upstreams of one slot each: both may run "a", only the second one "b"."""

    stores: Stores
    upstreams: tuple[Slots, ...] = (Slots(UPSTREAM, 1, ("a",)), Slots("other", 1, ("a", "b")))

    def line(self) -> Line:
        """The line before them."""
        return Line(self.upstreams, POLICY)

    def claims(self) -> Claims:
        """The claims on them."""
        return Claims(self.stores.outbox, self.upstreams, POLICY, LEASE_MS)


def test_only_upstreams_that_may_run_the_job_count(one: Stores) -> None:
    """Both slots for the one model, one for the other, none for a third."""
    pair = Pair(one)
    with database.write():
        for model in ("a", "b"):
            timings.record("other", model, Spent(LOAD_MS, RUN_MS))
    a = [one.submit(quiet(model="a"), at=T0) for _ in range(2)]
    b = [one.submit(quiet(model="b"), at=T0 + 1) for _ in range(2)]
    c = one.submit(quiet(model="c"), at=T0 + 2)
    assert [pair.line().outlook(job, T0 + 2).eta_s for job in a] == [34.0, 34.0]
    assert [pair.line().outlook(job, T0 + 2).position for job in (*a, *b, c)] == [1, 2, 3, 4, None]
    assert pair.line().outlook(c, T0 + 2) == Outlook(None, None)
    claim = pair.claims().claim(T0 + 2)
    assert isinstance(claim, Claim)
    assert claim.job.model == "a"


# -------------------------------------------------------------------------------------------------------- timings


@pytest.mark.usefixtures("engine")
def test_the_mean_begins_plain_and_then_forgets_slowly() -> None:
    """The first five weigh the same, and from then on the newest weighs a fifth."""
    means = []
    for run_ms in (100.0, 200.0, 300.0, 400.0, 500.0, 800.0):
        with database.write():
            timings.record(UPSTREAM, "a", Spent(None, run_ms))
        means.append(known()[UPSTREAM, "a"].run_ms)
    assert means == pytest.approx([100, 150, 200, 250, 300, 400])
    assert known()[UPSTREAM, "a"].load_ms is None


@pytest.mark.usefixtures("engine")
def test_loads_have_a_mean_of_their_own() -> None:
    """A run of a model in memory says nothing about loading it; and models and upstreams are apart."""
    with database.write():
        for load_ms in (None, 1_000.0, None, 3_000.0):
            timings.record(UPSTREAM, "a", Spent(load_ms, 10.0))
        timings.record("other", "a", Spent(5.0, 6.0))
        timings.record(UPSTREAM, "b", Spent(7.0, 8.0))
    assert known() == {
        (UPSTREAM, "a"): Times(2_000.0, 10.0),
        ("other", "a"): Times(5.0, 6.0),
        (UPSTREAM, "b"): Times(7.0, 8.0),
    }


def test_a_run_that_says_nothing_leaves_the_means_alone(one: Stores) -> None:
    """Neither one that only loaded, nor one that failed."""
    one.done(quiet(model="a"))
    claim = one.working(quiet(model="a"))
    one.claims.retry(claim, T0, counted=True)
    assert known() == {}


def test_a_claim_knows_whether_its_model_was_in_memory(one: Stores) -> None:
    """Only a load that took place is measured."""
    warm = []
    for model in ("a", "a", "b", "a"):
        claim = one.working(quiet(model=model))
        one.claims.complete(claim, completion(claim.job.id), {}, T0)
        warm.append(claim.warm)
    assert warm == [False, True, False, False]
