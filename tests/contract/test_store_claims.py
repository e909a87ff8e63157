from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from foreman.domain.job import Claim, JobFailure, NoClaim, Priority
from foreman.domain.lifecycle import Cause, State
from foreman.errors import StaleLease
from tests.postgres import PostgresServer
from tests.stores import (
    BOOM,
    LEASE_MS,
    T0,
    Engine,
    Stores,
    completion,
    in_processes,
    most_at_once,
    opened,
    quiet,
    request,
    run_all,
    run_until_empty,
    together,
    wait_until,
)

#: What a run can change.
RUN_TABLES = ("jobs", "events", "artifacts", "upstreams")


def test_a_claim_holds_all_that_a_run_needs(stores: Stores) -> None:
    """The job, its payload, and the token under which everything of this run is written."""
    asked = request()
    job = stores.submit(asked)
    claim = stores.claim(T0 + 7)
    assert (claim.job.id, claim.payload, claim.token) == (job.id, asked.payload, 1)
    assert (claim.job.state, claim.job.attempt, claim.losses, claim.upstream_failures) == (State.QUEUED, 1, 0, 0)


def test_priority_goes_before_age(stores: Stores) -> None:
    """Interactive, normal, batch; within one priority the job that has been ready longest."""
    stores = Stores(slots=10)
    asked = [Priority.BATCH, Priority.NORMAL, Priority.NORMAL, Priority.INTERACTIVE, Priority.BATCH]
    ids = [stores.submit(quiet(priority=each), at=T0 + at).id for at, each in enumerate(asked)]
    claimed = [stores.claim(T0 + 10).job.id for _ in asked]
    assert claimed == [ids[3], ids[1], ids[2], ids[0], ids[4]]


def test_jobs_of_one_millisecond_run_in_the_order_of_their_ids(stores: Stores) -> None:
    """A tie does not leave the order to the database."""
    stores = Stores(slots=20)
    ids = [stores.submit(quiet()).id for _ in range(20)]
    assert [stores.claim().job.id for _ in ids] == ids


def test_a_job_that_is_not_ready_yet_is_not_claimed(stores: Stores) -> None:
    """``ready_at`` in the future: a retry that still waits."""
    stores.submit(quiet(), at=T0 + 100)
    assert stores.refuses_to_claim(T0 + 99)
    assert stores.claim(T0 + 100).job.attempt == 1


def test_no_slot_no_claim(stores: Stores) -> None:
    """Two slots, two claims; the third comes when one of them has ended."""
    for _ in range(3):
        stores.submit(quiet())
    first, second = stores.claim(), stores.claim()
    assert stores.refuses_to_claim()
    stores.claims.fail(first, BOOM, T0)
    assert stores.claim().job.id not in {first.job.id, second.job.id}


@pytest.mark.parametrize("end", ["complete", "finish", "retry", "fail", "expire"])
def test_every_end_of_a_run_frees_its_slot(stores: Stores, end: str) -> None:
    """Whatever becomes of a run, its slot is free in the same moment."""
    stores = Stores(slots=1)
    claim = stores.working(quiet())
    waiting = stores.submit(quiet())
    ends: dict[str, Any] = {
        "complete": lambda: stores.claims.complete(claim, completion(claim.job.id), {}, T0),
        "finish": lambda: stores.claims.finish(claim, completion(claim.job.id), {}, T0),
        "retry": lambda: stores.claims.retry(claim, T0 + 10 * LEASE_MS, counted=True),
        "fail": lambda: stores.claims.fail(claim, BOOM, T0),
        "expire": lambda: stores.claims.expire(T0 + LEASE_MS + 1, max_losses=0),
    }
    assert stores.refuses_to_claim()
    ends[end]()
    assert stores.claim(T0 + LEASE_MS + 1).job.id == waiting.id


def test_eight_threads_at_once_get_no_more_than_the_slots(stores: Stores) -> None:
    """Twenty jobs wait, three slots are free: three threads get one, each another job."""
    stores = Stores(slots=3)
    for _ in range(20):
        stores.submit(quiet())
    got = together(8, lambda _: stores.claims.claim(T0))
    claimed = [each.job.id for each in got if isinstance(each, Claim)]
    assert len(claimed) == len(set(claimed)) == 3


def test_eight_threads_never_hold_more_than_the_slots_together(stores: Stores) -> None:
    """Slots change hands all the time, and at no time are more than three held; each job runs once."""
    stores = Stores(slots=3)
    ids = [stores.submit(quiet()).id for _ in range(60)]
    held = [each for part in together(8, lambda _: run_until_empty(stores)) for each in part]
    assert sorted(each.job_id for each in held) == ids
    assert most_at_once(held) <= 3


def test_four_processes_never_hold_more_than_the_slots_together(engine: Engine, stores: Stores) -> None:
    """As with threads: the bound is in the database, not in a process."""
    ids = [stores.submit(quiet()).id for _ in range(60)]
    held = [each for part in in_processes(4, run_all, engine.url) for each in part]
    assert sorted(each.job_id for each in held) == ids
    assert most_at_once(held) <= 3


def test_a_job_whose_row_is_held_for_a_moment_is_claimed_all_the_same(postgres: PostgresServer) -> None:
    """A sender records a delivery of the only ready job: passing over it would use up the permit for nothing."""
    with (
        opened("postgresql", postgres.url("contract")),
        psycopg.connect(postgres.url("contract")) as other,
        ThreadPoolExecutor() as pool,
    ):
        stores = Stores()
        job = stores.submit()
        other.execute("SELECT 1 FROM jobs FOR UPDATE")
        claiming = pool.submit(stores.claims.claim, T0)
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted"
        with psycopg.connect(postgres.url("contract"), autocommit=True) as watcher:
            wait_until(lambda: claiming.done() or bool(watcher.execute(waits).fetchall()))
        other.rollback()
        claim = claiming.result()
        assert isinstance(claim, Claim)
        assert claim.job.id == job.id


def test_a_state_is_entered_once(stores: Stores) -> None:
    """The first run that gets there moves the job and announces it; a later one finds it done."""
    job = stores.submit()
    claim = stores.claim()
    [moved] = stores.claims.begin(claim, State.LOADING, T0 + 1)
    assert moved.reached == ((State.QUEUED, T0), (State.LOADING, T0 + 1))
    assert not stores.claims.begin(claim, State.LOADING, T0 + 2)
    assert [state for state, _ in stores.statuses(job.id)] == ["queued", "loading"]


def test_a_retry_moves_no_state_back_and_announces_nothing_twice(stores: Stores) -> None:
    """The second run passes through ``loading`` and ``working`` in silence; only ``attempt`` tells of it."""
    claim = stores.working()
    job_id = claim.job.id
    stores.claims.retry(claim, T0 + 10, counted=True)
    between = stores.jobs.get(job_id)
    assert (between.state, between.attempt) == (State.WORKING, 1)
    again = stores.claim(T0 + 10)
    assert (again.job.state, again.job.attempt, again.token) == (State.WORKING, 2, 2)
    assert not stores.claims.begin(again, State.LOADING, T0 + 11)
    assert not stores.claims.begin(again, State.WORKING, T0 + 12)
    assert stores.jobs.get(job_id).reached == between.reached
    assert [state for state, _ in stores.statuses(job_id)] == ["queued", "loading", "working"]


def test_a_retry_waits_for_its_moment(stores: Stores) -> None:
    """``ready_at`` is when the job may be claimed again, and not before."""
    stores.submit(quiet())
    stores.claims.retry(stores.claim(), T0 + 1000, counted=True)
    assert stores.refuses_to_claim(T0 + 999)
    assert list(stores.claims.ready(T0 + 999, 5)) == []
    assert stores.claim(T0 + 1000).job.attempt == 2


def test_a_run_that_does_not_count_uses_up_no_attempt(stores: Stores) -> None:
    """An upstream that is away costs a job nothing but time."""
    stores.submit(quiet())
    stores.claims.retry(stores.claim(), T0, counted=False)
    assert stores.claim().job.attempt == 1


def test_a_renewed_lease_holds_longer(stores: Stores) -> None:
    """A run that lives keeps its claim however long it takes."""
    stores.submit(quiet())
    claim = stores.claim()
    stores.renew(claim, T0 + 50_000)
    assert stores.claims.expire(T0 + 50_000 + LEASE_MS, max_losses=3) == []
    assert len(stores.claims.expire(T0 + 50_001 + LEASE_MS, max_losses=3)) == 1


@pytest.mark.parametrize("lost", ["expired", "claimed again", "handed back", "ended"])
@pytest.mark.parametrize("write", ["renew", "begin", "complete", "finish", "retry", "fail"])
def test_nothing_is_written_under_a_lost_lease(engine: Engine, stores: Stores, lost: str, write: str) -> None:
    """A worker that was given up for dead, and is not, changes nothing: not its job, not its events or artifacts."""
    stale = stores.working()
    lose(stores, stale, lost)
    before = engine.all_rows(*RUN_TABLES)
    writes: dict[str, Any] = {
        "renew": lambda: stores.renew(stale, T0 + 1),
        "begin": lambda: stores.claims.begin(stale, State.WORKING, T0 + 1),
        "complete": lambda: stores.claims.complete(stale, completion(stale.job.id), {"late": 1}, T0 + 1),
        "finish": lambda: stores.claims.finish(stale, completion(stale.job.id), {"late": 1}, T0 + 1),
        "retry": lambda: stores.claims.retry(stale, T0 + 1, counted=False),
        "fail": lambda: stores.claims.fail(stale, BOOM, T0 + 1),
    }
    with pytest.raises(StaleLease) as refused:
        writes[write]()
    assert refused.value.job_id == stale.job.id
    assert engine.all_rows(*RUN_TABLES) == before


def lose(stores: Stores, claim: Claim, how: str) -> None:
    """Void a claim."""
    if how == "handed back":
        stores.claims.retry(claim, T0, counted=True)
    elif how == "ended":
        stores.claims.fail(claim, BOOM, T0)
    else:
        stores.claims.expire(T0 + LEASE_MS + 1, max_losses=3)
    if how == "claimed again":
        stores.claim(T0 + LEASE_MS + 1)


def test_an_expired_lease_makes_the_job_claimable_at_once(stores: Stores) -> None:
    """A worker that dies costs its job the rest of its lease, not the job, and no attempt of its own."""
    claim = stores.working()
    [back] = stores.claims.expire(T0 + LEASE_MS + 1, max_losses=3)
    assert (back.id, back.state, back.attempt) == (claim.job.id, State.WORKING, 1)
    again = stores.claim(T0 + LEASE_MS + 1)
    assert (again.job.id, again.job.attempt, again.losses) == (claim.job.id, 2, 1)


def test_a_lease_that_holds_is_left_alone(stores: Stores) -> None:
    """At the moment it ends it still holds."""
    stores.submit(quiet())
    stores.claim()
    assert stores.claims.expire(T0 + LEASE_MS, max_losses=3) == []


def test_a_job_that_kills_its_workers_fails(stores: Stores) -> None:
    """After ``max_losses`` lost workers one more is the end: ``worker_lost``, announced like any failure."""
    job = stores.submit()
    now = T0
    for _ in range(2):
        stores.claim(now)
        now += LEASE_MS + 1
        [back] = stores.claims.expire(now, max_losses=2)
        assert back.state is State.QUEUED
    stores.claim(now)
    [failed] = stores.claims.expire(now + LEASE_MS + 1, max_losses=2)
    assert failed.id == job.id
    assert (failed.state, failed.failure) == (
        State.FAILED,
        JobFailure(Cause.WORKER_LOST, "the worker running this job died 3 times"),
    )
    assert failed.expires_at == now + LEASE_MS + 1 + 3_600_000
    assert [state for state, _ in stores.statuses(job.id)] == ["queued", "failed"]
    assert stores.refuses_to_claim(now + LEASE_MS + 1)


def test_two_sweeps_at_once_lose_a_worker_only_once(stores: Stores) -> None:
    """Each lost lease is taken back by one of them."""
    stores = Stores(slots=10)
    for _ in range(10):
        stores.submit(quiet())
        stores.claim()
    parts = together(4, lambda _: stores.claims.expire(T0 + LEASE_MS + 1, max_losses=3))
    ids = [job.id for part in parts for job in part]
    assert len(ids) == len(set(ids))
    stores.claims.expire(T0 + LEASE_MS + 1, max_losses=3)
    assert {stores.claim(T0 + LEASE_MS + 1).losses for _ in range(10)} == {1}


def test_a_failed_job_says_why_and_when_it_goes(stores: Stores) -> None:
    """``error``, the moment it ended and ``expires_at``, an exact ``ttl_s`` later on both engines."""
    claim = stores.working(request(ttl_s=0.0015))
    failed = stores.claims.fail(claim, BOOM, T0 + 5)
    assert failed is not None
    assert (failed.state, failed.failure) == (State.FAILED, BOOM)
    assert failed.reached[-1] == (State.FAILED, T0 + 5)
    assert failed.expires_at in (T0 + 6, T0 + 7)
    assert stores.jobs.get(failed.id) == failed


def test_nothing_is_claimed_while_the_upstream_is_held(stores: Stores) -> None:
    """An upstream that refused is left alone until then, whoever asks, and each refusal is counted."""
    stores.submit(quiet())
    stores.claims.retry(stores.claim(), T0, counted=False)
    stores.hold(T0 + 500)
    stores.hold(T0 + 1000)
    assert stores.refuses_to_claim(T0 + 999)
    assert stores.claim(T0 + 1000).upstream_failures == 2


def test_a_released_upstream_is_as_new(stores: Stores) -> None:
    """It answered: no hold, no failures."""
    stores.submit(quiet())
    stores.claims.retry(stores.claim(), T0, counted=False)
    stores.hold(T0 + 5000)
    stores.release()
    assert stores.claim().upstream_failures == 0


def test_ready_names_the_best_jobs_first_and_no_others(stores: Stores) -> None:
    """Whom to send a permit for: by priority, then by how long they have been ready, no running or later ones."""
    stores = Stores(slots=1)
    stores.submit(quiet(priority=Priority.INTERACTIVE))
    stores.claim()
    ids = [stores.submit(quiet(), at=T0 + 2).id, stores.submit(quiet(), at=T0 + 1).id]
    batch = stores.submit(quiet(priority=Priority.BATCH)).id
    stores.submit(quiet(), at=T0 + 50)
    assert list(stores.claims.ready(T0 + 2, 10)) == [ids[1], ids[0], batch]
    assert list(stores.claims.ready(T0 + 2, 2)) == [ids[1], ids[0]]


def test_with_nothing_ready_there_is_no_claim(stores: Stores) -> None:
    """An empty queue is an answer, not an error."""
    assert stores.claims.claim(T0) == NoClaim()
