from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from peewee import IntegrityError

from foreman.domain.job import JobRequest, Moment, Priority
from foreman.domain.lifecycle import State
from foreman.errors import IdempotencyConflict, JobGone, JobNotFound, QueueFull
from foreman.store.database import write
from foreman.store.jobs import Filter, Jobs
from foreman.store.models import PayloadRow
from foreman.store.outbox import Outbox
from foreman.store.room import Room
from tests.stores import BOOM, LEASE_MS, T0, Engine, Stores, new_id, quiet, request, together


def test_submit_commits_the_job_with_all_that_belongs_to_it(engine: Engine, stores: Stores) -> None:
    """Job, payload, labels and the event of ``queued`` are all there once ``submit`` returns."""
    asked = request(metadata={"team": "a", "n": 3})
    job = stores.submit(asked)
    assert stores.jobs.get(job.id) == job
    assert (job.state, job.reached, job.version) == (State.QUEUED, ((State.QUEUED, T0),), 1)
    assert [bytes(row[0]) for row in engine.rows("SELECT body FROM payloads")] == [asked.payload]
    assert engine.count("labels") == 2
    [event] = stores.events.of(job.id)
    assert (event.state, event.sequence, event.status, event.next_attempt_at) == (State.QUEUED, 1, "pending", T0)


def test_a_job_comes_back_as_it_was_asked_for(stores: Stores) -> None:
    """Every part of the request survives the database: texts in any script, nested metadata, limits, the webhook."""
    asked = request(
        model="llama3.2:1b-instruct-q4_K_M",
        metadata={"name": "Žofie \U0001f600", "zero": "\0", "deep": {"list": [1, 2.5, None, True]}},
        priority=Priority.BATCH,
        events=frozenset({State.DONE, State.FAILED}),
    )
    job = stores.jobs.get(stores.submit(asked).id)
    assert (job.model, job.metadata, job.priority, job.limits, job.webhook) == (
        asked.model,
        asked.metadata,
        asked.priority,
        asked.limits,
        asked.webhook,
    )


def test_a_job_without_a_webhook_has_no_events(engine: Engine, stores: Stores) -> None:
    """Nobody asked to be told."""
    stores.submit(quiet())
    assert engine.count("events") == 0


def test_a_submission_that_fails_half_way_leaves_nothing(engine: Engine, stores: Stores) -> None:
    """A payload that is there already makes the second write fail after the first: neither remains."""
    job_id = new_id()
    with write():
        PayloadRow.insert(job_id=job_id, body=b"{}").execute()
    with pytest.raises(IntegrityError):
        stores.submit(job_id=job_id)
    assert (engine.count("jobs"), engine.count("payloads"), engine.count("events")) == (0, 1, 0)


def test_the_same_key_and_body_give_the_same_job(engine: Engine, stores: Stores) -> None:
    """A client that lost the answer may ask again."""
    first = stores.submitted(key="k")
    again = stores.submitted(key="k", at=T0 + 5)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.job == first.job
    assert engine.count("jobs") == engine.count("events") == 1


def test_a_key_is_answered_with_the_job_as_it_is_now(stores: Stores) -> None:
    """A replay tells what has become of the job since."""
    job = stores.submit(key="k")
    stores.claims.fail(stores.claim(), BOOM, T0 + 1)
    again = stores.submitted(key="k")
    assert (again.job.id, again.job.state) == (job.id, State.FAILED)


def test_a_key_with_another_body_is_refused(engine: Engine, stores: Stores) -> None:
    """The key names one submission; the error names its job."""
    job = stores.submit(key="k")
    with pytest.raises(IdempotencyConflict) as refused:
        stores.submit(request(content="something else"), key="k")
    assert refused.value.job_id == job.id
    assert engine.count("jobs") == 1


@pytest.mark.parametrize("round_number", range(5))
def test_racing_requests_with_one_key_make_one_job(engine: Engine, stores: Stores, round_number: int) -> None:
    """Eight threads submit at once under one key: one job, and seven replays of it."""
    got = together(8, lambda _: stores.submitted(key=f"k{round_number}"))
    assert len({each.job.id for each in got}) == 1
    assert sorted(each.replayed for each in got) == [False] + [True] * 7
    assert engine.count("jobs") == engine.count("payloads") == engine.count("events") == 1


def test_a_key_is_free_again_once_its_job_is_gone(stores: Stores) -> None:
    """A key lives as long as its job."""
    job = stores.done(quiet())
    keyed = stores.submit(quiet(), key="k")
    stores.claims.fail(stores.claim(), BOOM, T0)
    stores.pruning.remove([job.id, keyed.id], T0)
    assert not stores.submitted(quiet(content="other"), key="k").replayed


def test_a_full_queue_refuses_and_writes_nothing(engine: Engine) -> None:
    """The queue's room bounds the jobs in ``queued``; those that run or have ended do not count."""
    stores = Stores(max_queue=2)
    running = stores.working(quiet())
    stores.submit(quiet(), key="k")
    stores.submit(quiet())
    with pytest.raises(QueueFull) as refused:
        stores.submit()
    assert (refused.value.limit, refused.value.retry_after_s) == (2, 60)
    assert engine.count("jobs") == 3
    assert stores.submitted(quiet(), key="k").replayed, "an earlier job's key is still answered"
    stores.claims.fail(running, BOOM, T0)
    stores.claim()
    with pytest.raises(QueueFull):
        stores.submit()


@pytest.mark.parametrize(
    ("ended_ago_s", "retry_after_s"),
    [
        ([100, 50, 20, 10], 25),  # 4 in 100 s
        ([300], 300),  # 1 in 300 s
        ([0.1, 0.1, 0.1], 1),  # never less than a second
        ([601], 60),  # outside the window: not known
        ([601, 30], 30),  # only the one inside counts
    ],
)
def test_retry_after_is_what_one_place_took_lately(
    engine: Engine, ended_ago_s: list[float], retry_after_s: int
) -> None:
    """The time since the first of the jobs that ended within ten minutes, divided by their number."""
    stores = Stores(max_queue=1)
    for ago_s in ended_ago_s:
        stores.submit(quiet())
        stores.claims.fail(stores.claim(), BOOM, T0 - round(ago_s * 1000))
    stores.submit(quiet())
    with pytest.raises(QueueFull) as refused:
        stores.submit(quiet())
    assert refused.value.retry_after_s == retry_after_s


def test_an_unknown_id_is_told_from_one_that_is_gone(stores: Stores) -> None:
    """404 and 410 are different answers."""
    job = stores.done(quiet())
    stores.pruning.remove([job.id], T0)
    with pytest.raises(JobGone) as gone:
        stores.jobs.get(job.id)
    assert gone.value.job_id == job.id
    with pytest.raises(JobNotFound):
        stores.jobs.get(new_id())


def test_the_state_alone_can_be_asked_for(stores: Stores) -> None:
    """None stands for a job that is not there."""
    job = stores.submit()
    assert stores.jobs.state(job.id) is State.QUEUED
    assert stores.jobs.state(new_id()) is None


def test_pages_follow_each_other_newest_first(stores: Stores) -> None:
    """The last id of a page begins the next; the end is an empty page."""
    ids = [stores.submit(quiet()).id for _ in range(5)]
    first = stores.jobs.page(Filter(limit=2))
    second = stores.jobs.page(Filter(limit=2, before=first[-1].id))
    third = stores.jobs.page(Filter(limit=2, before=second[-1].id))
    assert [job.id for job in (*first, *second, *third)] == ids[::-1]
    assert stores.jobs.page(Filter(before=third[-1].id)) == []


def test_paging_is_stable_while_jobs_are_added_and_pruned(stores: Stores) -> None:
    """Nobody sees a job twice or misses one that was there all the time, whatever comes and goes meanwhile."""
    ids = [stores.done(quiet()).id for _ in range(9)]
    seen: list[str] = []
    page = stores.jobs.page(Filter(limit=3))
    while page:
        seen += [job.id for job in page]
        stores.submit(quiet())
        stores.pruning.remove([page[-1].id], T0)
        page = stores.jobs.page(Filter(limit=3, before=page[-1].id))
    assert seen == ids[::-1]


def test_a_listing_is_restricted_by_every_filter_at_once(stores: Stores) -> None:
    """State, model, metadata and age are all asked for, and all must hold."""
    wanted = stores.submit(quiet(model="a", metadata={"team": "x"}), at=T0 + 1)
    stores.submit(quiet(model="b", metadata={"team": "x"}), at=T0 + 1)
    stores.submit(quiet(model="a", metadata={"team": "y"}), at=T0 + 1)
    stores.submit(quiet(model="a", metadata={"team": "x"}), at=T0)
    page = stores.jobs.page(Filter(State.QUEUED, "a", (("team", "x"),), created_after=T0))
    assert [job.id for job in page] == [wanted.id]
    assert stores.jobs.page(Filter(State.DONE, "a", (("team", "x"),), created_after=T0)) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), ("Ž ", "Ž "), (3, "3"), (1.5, "1.5"), (True, "true"), (None, "null"), ("", ""), ("7", "7")],
)
def test_metadata_is_found_by_the_text_of_any_scalar(stores: Stores, value: object, text: str) -> None:
    """A string by itself, anything else by its JSON."""
    job = stores.submit(quiet(metadata={"key": value, "other": "thing"}))
    stores.submit(quiet(metadata={"other": value}))
    assert [each.id for each in stores.jobs.page(Filter(metadata=(("key", text),)))] == [job.id]
    assert stores.jobs.page(Filter(metadata=(("key", f"{text}!"),))) == []


def test_two_metadata_filters_must_both_hold(stores: Stores) -> None:
    """As many as are asked for."""
    both = stores.submit(quiet(metadata={"a": 1, "b": 2}))
    stores.submit(quiet(metadata={"a": 1, "b": 3}))
    page = stores.jobs.page(Filter(metadata=(("a", "1"), ("b", "2"))))
    assert [job.id for job in page] == [both.id]


def test_a_job_may_have_thousands_of_labels(engine: Engine, stores: Stores) -> None:
    """16 KiB of metadata can be 1,600 pairs: more than one INSERT takes on SQLite."""
    metadata = {f"k{number}": number for number in range(1600)}
    assert len(json.dumps(metadata)) > 16_384
    job = stores.submit(quiet(metadata=metadata))
    assert engine.count("labels") == 1600
    assert [each.id for each in stores.jobs.page(Filter(metadata=(("k1599", "1599"),)))] == [job.id]


def test_every_change_of_a_job_raises_its_version(stores: Stores) -> None:
    """An ``ETag`` made of it never stands for two states."""
    job = stores.submit(quiet())
    versions = [job.version]
    claim = stores.claim()
    for act in (
        lambda: stores.claims.begin(claim, State.LOADING, T0 + 1),
        lambda: stores.claims.begin(claim, State.WORKING, T0 + 2),
        lambda: stores.claims.retry(claim, T0 + 3, counted=True),
        lambda: stores.claim(T0 + 3),
        lambda: stores.claims.expire(T0 + 4 + LEASE_MS, max_losses=3),
    ):
        act()
        versions.append(stores.jobs.get(job.id).version)
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(("asked", "synced"), [(request(), True), (quiet(), False)], ids=["webhook", "no webhook"])
def test_a_receiver_is_told_of_no_job_that_a_power_cut_may_undo(
    engine: Engine,
    asked: JobRequest,
    synced: bool,  # noqa: FBT001  a case
) -> None:
    """Where a client waits for the answer, a submission need not be on the disk; with a webhook it is all the same."""
    full = engine.kind == "postgresql" or synced
    seen: list[bool] = []

    class Looking(Room):
        def take(self, queued: Callable[[], int], now: Moment) -> bool:
            seen.append(_commits_are_synced(engine))
            return super().take(queued, now)

    jobs = Jobs(Outbox("http://foreman.example", 100), Looking(10), durable=False)
    jobs.submit(asked, job_id=new_id(), key=None, now=T0)
    assert seen == [full]


def _commits_are_synced(engine: Engine) -> bool:
    asked = "PRAGMA synchronous" if engine.kind == "sqlite" else "SHOW synchronous_commit"
    return engine.database.execute_sql(asked).fetchone()[0] in {2, "on"}
