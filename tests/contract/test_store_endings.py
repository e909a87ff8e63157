from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foreman.domain.job import Claim, Job, Limits
from foreman.domain.lifecycle import TERMINAL, Cause, State
from foreman.errors import JobNotFound, JobTerminal
from foreman.store.endings import Endings
from tests.stores import BOOM, LEASE_MS, T0, Engine, Stores, completion, new_id, quiet, request, together


@pytest.fixture
def endings(stores: Stores) -> Endings:
    """Whoever ends jobs from outside."""
    return Endings(stores.outbox)


def test_a_job_that_nobody_runs_is_cancelled_at_once(stores: Stores, endings: Endings) -> None:
    """Failed and announced in one transaction; it is never claimed again."""
    job_id = stores.submit().id
    job = endings.cancel(job_id, Cause.CANCELLED, T0 + 1)
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.code is Cause.CANCELLED
    assert stores.statuses(job_id)[-1] == ("failed", "pending")
    assert stores.refuses_to_claim(T0 + 10**9)


def test_a_running_job_is_ended_by_whoever_runs_it(stores: Stores, endings: Endings) -> None:
    """Until then it lives; the worker learns of the wish when it asks, and its failure carries that cause."""
    claim = stores.working()
    assert stores.claims.wanted(claim) is None
    assert endings.cancel(claim.job.id, Cause.CANCELLED, T0 + 1).state is State.WORKING
    assert stores.claims.wanted(claim) is Cause.CANCELLED
    job = stores.claims.fail(claim, BOOM, T0 + 2)
    assert job is not None
    assert job.failure is not None
    assert job.failure.code is Cause.CANCELLED


@pytest.mark.parametrize("end", ["complete", "finish", "retry"])
def test_a_run_that_ends_otherwise_is_told_first(stores: Stores, endings: Endings, end: str) -> None:
    """A wish that was accepted is kept: neither a completion nor another run comes after it."""
    claim = stores.working()
    endings.cancel(claim.job.id, Cause.CLIENT_DISCONNECTED, T0 + 1)
    ends: dict[str, Callable[[], Any]] = {
        "complete": lambda: stores.claims.complete(claim, completion(claim.job.id), {}, T0 + 2),
        "finish": lambda: stores.claims.finish(claim, completion(claim.job.id), {}, T0 + 2),
        "retry": lambda: stores.claims.retry(claim, T0 + 2, counted=True),
    }
    assert ends[end]() is Cause.CLIENT_DISCONNECTED
    assert stores.artifacts.unstored(claim.job.id) is None
    assert stores.claims.fail(claim, BOOM, T0 + 3) is not None


def test_a_worker_that_dies_takes_a_cancelled_job_with_it(stores: Stores, endings: Endings) -> None:
    """Nobody runs it again."""
    claim = stores.working(quiet())
    endings.cancel(claim.job.id, Cause.CANCELLED, T0 + 1)
    [job] = stores.claims.expire(T0 + LEASE_MS + 1, max_losses=3)
    assert job.failure is not None
    assert job.failure.code is Cause.CANCELLED


def test_a_completion_that_is_not_stored_yet_is_nobodys_any_more(stores: Stores, endings: Endings) -> None:
    """Cancelled between the end of the run and ``done``: it is not stored later, and its text is kept as of any job."""
    claim = stores.working()
    stores.claims.complete(claim, completion(claim.job.id), {}, T0)
    assert endings.cancel(claim.job.id, Cause.CANCELLED, T0 + 1).state is State.FAILED
    [kept] = stores.artifacts.of(claim.job.id)
    assert (kept.name, kept.content_type, kept.data) == ("partial", "text/plain; charset=utf-8", b"hi")
    assert list(stores.artifacts.waiting(T0 + 10, 10)) == []
    assert stores.artifacts.stored(completion(claim.job.id), None, T0 + 2) is None


def test_cancelling_twice_is_cancelling_once(stores: Stores, endings: Endings) -> None:
    """The same answer again; a job that ended otherwise says so, and one that is not there too."""
    job_id = stores.submit().id
    first = endings.cancel(job_id, Cause.CANCELLED, T0 + 1)
    assert endings.cancel(job_id, Cause.CANCELLED, T0 + 2) == first
    done = stores.done(quiet()).id
    with pytest.raises(JobTerminal):
        endings.cancel(done, Cause.CANCELLED, T0 + 2)
    with pytest.raises(JobNotFound):
        endings.cancel(new_id(), Cause.CANCELLED, T0 + 2)


def test_cancel_and_completion_have_one_winner(stores: Stores, endings: Endings) -> None:
    """Whoever commits first decides, and the job ends as it says: once, announced once."""
    for _ in range(20):
        claim = stores.working()
        made = completion(claim.job.id)
        stores.claims.complete(claim, made, {}, T0)

        def cancel(job_id: str = made.job_id) -> Job | None:
            try:
                return endings.cancel(job_id, Cause.CANCELLED, T0 + 1)
            except JobTerminal:
                return None

        def store(made: object = made) -> Job | None:
            return stores.artifacts.stored(made, None, T0 + 1)  # type: ignore[arg-type]  # an artifact

        ended = [job for job in together(2, lambda number, acts=(cancel, store): acts[number]()) if job]  # type: ignore[misc]
        assert len(ended) == 1
        assert stores.jobs.get(made.job_id) == ended[0]
        assert [state for state, _ in stores.statuses(made.job_id) if State(state) in TERMINAL] == [ended[0].state]


def test_cancel_and_the_end_of_a_run_have_one_winner(stores: Stores, endings: Endings) -> None:
    """Either the run hears of the wish, or the job is ``done`` and whoever cancels is told so; never both."""
    for _ in range(20):
        claim = stores.working()

        def cancel(claim: Claim = claim) -> bool:
            try:
                return endings.cancel(claim.job.id, Cause.CANCELLED, T0 + 1).state is State.WORKING
            except JobTerminal:
                return False

        def finish(claim: Claim = claim) -> bool:
            return stores.claims.finish(claim, completion(claim.job.id), {}, T0 + 1) is not Cause.CANCELLED

        cancelled, finished = together(2, lambda number, acts=(cancel, finish): acts[number]())  # type: ignore[misc]
        assert cancelled != finished
        assert stores.jobs.get(claim.job.id).state is (State.DONE if finished else State.WORKING)
        if not finished:
            stores.claims.fail(claim, BOOM, T0 + 2)


def test_a_claim_and_a_cancel_have_one_winner(stores: Stores, endings: Endings) -> None:
    """A job that is cancelled as a worker takes it is either not taken, or its worker is told."""
    for _ in range(20):
        job_id = stores.submit(quiet()).id
        acts = (lambda: stores.claims.claim(T0), lambda job_id=job_id: endings.cancel(job_id, Cause.CANCELLED, T0))
        claim, job = together(2, lambda number, acts=acts: acts[number]())  # type: ignore[misc]
        if isinstance(claim, Claim):
            assert stores.claims.wanted(claim) is Cause.CANCELLED
            stores.claims.fail(claim, BOOM, T0)
        else:
            assert job.state is State.FAILED


def with_deadline(start_deadline_s: float) -> Limits:
    """Limits of a job that must start in time."""
    return replace(request().limits, start_deadline_s=start_deadline_s)


def test_a_job_that_starts_too_late_fails(stores: Stores, endings: Endings) -> None:
    """At its deadline it may no longer be claimed, and is failed by the next look at the deadlines."""
    job_id = stores.submit(replace(request(), limits=with_deadline(1.5))).id
    assert list(endings.start_deadlines(T0 + 1499)) == []
    assert stores.refuses_to_claim(T0 + 1500)
    [job] = endings.start_deadlines(T0 + 1500)
    assert (job.id, job.state) == (job_id, State.FAILED)
    assert job.failure is not None
    assert job.failure.code is Cause.START_DEADLINE
    assert stores.statuses(job_id)[-1] == ("failed", "pending")


def test_a_start_deadline_is_forgotten_once_it_cannot_be_missed(
    engine: Engine, stores: Stores, endings: Endings
) -> None:
    """Whoever looks for jobs that are late finds none that has ended, however many of those there are."""
    asked = replace(quiet(), limits=with_deadline(1))
    endings.cancel(stores.submit(asked).id, Cause.CANCELLED, T0)
    endings.start_deadlines(stores.submit(asked).created_at + 1000)
    stores.working(asked)
    assert engine.rows("SELECT DISTINCT start_by FROM jobs") == [(None,)]


def test_a_job_that_started_in_time_may_take_as_long_as_it_likes(stores: Stores, endings: Endings) -> None:
    """The deadline is for leaving ``queued``; neither a running job nor one between two runs is failed by it."""
    stores.submit(replace(quiet(), limits=with_deadline(1)))
    claim = stores.claim(T0 + 500)
    assert list(endings.start_deadlines(T0 + 2000)) == []
    stores.claims.begin(claim, State.LOADING, T0 + 2000)
    stores.claims.retry(claim, T0 + 3000, counted=True)
    assert list(endings.start_deadlines(T0 + 3000)) == []
    assert stores.claim(T0 + 3000).job.id == claim.job.id
