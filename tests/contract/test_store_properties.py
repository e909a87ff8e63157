from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from foreman.domain.delivery import Dead, Decision, Delivered, RetryIn, Stopped
from foreman.domain.job import Claim, NoClaim, Priority
from foreman.domain.lifecycle import TERMINAL, Cause, State
from foreman.errors import EventNotFound, EventSkipped, JobTerminal, StaleLease
from foreman.store import database
from foreman.store.endings import Endings
from foreman.store.events import Sending
from foreman.store.jobs import Filter
from foreman.store.models import EventRow
from foreman.store.upstreams import Upstreams
from tests.store_model import Model, ModelJob
from tests.stores import (
    BOOM,
    BUSY,
    GONE,
    LATE,
    LEASE_MS,
    OK,
    SENDING_MS,
    T0,
    Engine,
    Stores,
    completion,
    empty,
    quiet,
    request,
)

MAX_LOSSES = 1

#: Few, so that much happens to each.
MAX_JOBS = 3

#: Some 10 seconds on each engine. A failure is shrunk to a few steps and printed as a program.
EFFORT = settings(
    max_examples=40,
    stateful_step_count=50,
    # Not ``explain``: it runs a failure hundreds of times more, and the program that fails says enough.
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

DECISIONS: dict[str, tuple[Any, Decision]] = {
    "delivered": (OK, Delivered()),
    "again": (LATE, RetryIn(5.0)),
    "dead": (BUSY, Dead()),
    "stopped": (GONE, Stopped()),
}


class StoreMachine(RuleBasedStateMachine):
    """Anybody does anything at any time, workers and senders that were given up for dead included."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")
    sendings = Bundle("sendings")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.stores = Stores(slots=2, origin_limit=1)
        self.model = Model(slots=2, origin_limit=1)
        self.now = T0
        #: (job, sequence) of every first try, in the order in which they were made.
        self.first_tries: list[tuple[str, int]] = []
        #: Events that were skipped when somebody asked for them: their turn is when they are asked for.
        self.asked_for: set[tuple[str, int]] = set()
        empty(engine)

    # -- submitters

    @initialize(target=jobs)
    def two_jobs(self) -> Any:
        """So that there is something to do."""
        return multiple(*(self.submit(Priority.NORMAL, frozenset(State)) for _ in range(2)))

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(
        target=jobs,
        priority=st.sampled_from(Priority),
        wanted=st.one_of(st.none(), st.frozensets(st.sampled_from(State), min_size=1), st.just(frozenset(State))),
    )
    def submit(self, priority: Priority, wanted: frozenset[State] | None) -> str:
        """A job with or without a webhook, for some states or all."""
        asked = quiet(priority=priority) if wanted is None else request(priority=priority, events=wanted)
        job = self.stores.submit(asked, at=self.now)
        self.model.jobs[job.id] = ModelJob(job.id, priority, wanted, ready_at=self.now)
        self.model.jobs[job.id].move(State.QUEUED, self.now)
        return job.id

    @precondition(lambda self: len(self.model.jobs) == MAX_JOBS)
    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        """At once where nobody runs the job, a wish where somebody does."""
        job = self.model.jobs[job_id]
        endings = Endings(self.stores.outbox)
        if job.state in TERMINAL and job.cause is not Cause.CANCELLED:
            with pytest.raises(JobTerminal):
                endings.cancel(job_id, Cause.CANCELLED, self.now)
            return
        endings.cancel(job_id, Cause.CANCELLED, self.now)
        if job.lease_until is not None:
            job.asked_to_end = True
        elif job.state not in TERMINAL:
            job.unstored = False
            job.fail(Cause.CANCELLED, self.now)

    @rule(passed_ms=st.sampled_from([1, 4_000, SENDING_MS + 1, LEASE_MS + 1]))
    def advance(self, passed_ms: int) -> None:
        """Time goes by."""
        self.now += passed_ms

    # -- workers

    @rule(target=claims)
    def claim(self) -> Any:
        """The job that the model would take, or none."""
        expected = self.model.next_job(self.now)
        claim = self.stores.claims.claim(self.now)
        if expected is None:
            assert claim == NoClaim()
            return multiple()
        assert isinstance(claim, Claim)
        assert claim.job.id == expected.id
        expected.ready_at, expected.lease_until = None, self.now + LEASE_MS
        expected.token, expected.attempt = expected.token + 1, expected.attempt + 1
        assert (claim.token, claim.job.attempt, claim.losses) == (expected.token, expected.attempt, expected.losses)
        return claim

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        """The worker lives."""
        job = self.held(claim, lambda: self.stores.claims.renew(claim, self.now))
        if job is not None:
            job.lease_until = self.now + LEASE_MS

    @rule(claim=claims)
    def go_on(self, claim: Claim) -> None:
        """The run comes to its next state, which an earlier run may have reached already."""
        job = self.model.jobs[claim.job.id]
        after = State.LOADING if job.state is State.QUEUED else State.WORKING
        news = job.state is not State.WORKING
        moved: list[Any] = []
        if self.held(claim, lambda: moved.append(self.stores.claims.begin(claim, after, self.now))) is None:
            return
        assert bool(moved[0]) == news
        if news:
            job.move(after, self.now)

    @rule(claim=claims)
    def complete(self, claim: Claim) -> None:
        """The run brought a completion, unless somebody wanted it ended before."""
        job = self.model.jobs[claim.job.id]
        if job.state is not State.WORKING or self.asked_to_end(claim):
            return
        made = completion(job.id)
        if self.held(claim, lambda: self.stores.claims.complete(claim, made, {"n": 1}, self.now)) is not None:
            job.lease_until, job.unstored = None, True

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        """The run brought a completion that stays in its row, unless somebody wanted it ended before."""
        job = self.model.jobs[claim.job.id]
        if job.state is not State.WORKING or self.asked_to_end(claim):
            return
        made = completion(job.id)
        if self.held(claim, lambda: self.stores.claims.finish(claim, made, {"n": 1}, self.now)) is not None:
            job.lease_until = None
            job.move(State.DONE, self.now)

    @rule(target=claims)
    def run(self) -> Any:
        """A claim whose run comes as far as the real call."""
        claim = self.claim()
        if isinstance(claim, Claim):
            self.go_on(claim)
            self.go_on(claim)
        return claim

    @rule(claim=claims, delay_ms=st.sampled_from([0, 3_000]), counted=st.booleans())
    def retry(self, claim: Claim, delay_ms: int, counted: bool) -> None:  # noqa: FBT001 (drawn by name)
        """The run failed and the job is to be run again."""
        job = self.model.jobs[claim.job.id]
        if self.asked_to_end(claim):
            return
        back = self.now + delay_ms
        if self.held(claim, lambda: self.stores.claims.retry(claim, back, counted=counted)) is not None:
            job.lease_until, job.ready_at = None, back
            job.attempt -= 0 if counted else 1

    @rule(claim=claims)
    def fail(self, claim: Claim) -> None:
        """The run failed for good."""
        job = self.held(claim, lambda: self.stores.claims.fail(claim, BOOM, self.now))
        if job is not None:
            job.fail(BOOM.code, self.now)

    @rule()
    def expire(self) -> None:
        """Every lease that ran out is taken back, and no other."""
        expected = self.model.expired(self.now)
        lost = self.stores.claims.expire(self.now, max_losses=MAX_LOSSES)
        assert {job.id for job in lost} == {job.id for job in expected}
        for job in expected:
            if job.asked_to_end or job.losses >= MAX_LOSSES:
                job.fail(Cause.WORKER_LOST, self.now)
            else:
                job.lease_until, job.ready_at = None, self.now
                job.token, job.losses = job.token + 1, job.losses + 1

    @rule(target=claims)
    def lose_the_worker(self) -> Any:
        """A claim that nobody renews, taken back; its worker may yet come to write."""
        claim = self.claim()
        self.advance(LEASE_MS + 1)
        self.expire()
        return claim

    @precondition(lambda self: self.model.held_until <= self.now)
    @rule()
    def hold(self) -> None:
        """The upstream refused."""
        self.stores.hold(self.now + 3_000)
        self.model.held_until = self.now + 3_000

    @precondition(lambda self: self.model.held_until > self.now)
    @rule()
    def release(self) -> None:
        """The upstream answered again."""
        self.stores.release()
        self.model.held_until = 0

    @rule(job_id=jobs)
    def store_completion(self, job_id: str) -> None:
        """The artifact is safe, which may be said twice, or of a job that has none."""
        job = self.model.jobs[job_id]
        artifact = self.stores.artifacts.unstored(job_id)
        assert (artifact is not None) == job.unstored
        done = self.stores.artifacts.stored(completion(job_id), None, self.now) if artifact else None
        assert (done is not None) == job.unstored
        if job.unstored:
            job.unstored = False
            job.move(State.DONE, self.now)

    # -- senders

    @rule(target=sendings, job_id=jobs)
    def try_event(self, job_id: str) -> Any:
        """The event that the model would send, or none."""
        job = self.model.jobs[job_id]
        expected = self.model.next_event(job, self.now)
        sending = self.stores.events.claim(job_id, self.now)
        assert (sending is None) == (expected is None)
        if sending is None or expected is None:
            return multiple()
        assert sending.state is expected.state
        expected.lease_until, expected.token = self.now + SENDING_MS, expected.token + 1
        expected.tries, expected.since = expected.tries + 1, expected.since + 1
        assert (sending.attempt, sending.tries) == (expected.tries, expected.since)
        if expected.tries == 1 and (job_id, sending.sequence) not in self.asked_for:
            self.first_tries.append((job_id, sending.sequence))
        return sending

    @rule(sending=consumes(sendings), outcome=st.sampled_from(list(DECISIONS)))
    def record(self, sending: Sending, outcome: str) -> None:
        """What came of a try, which may be somebody else's by now."""
        job = self.model.jobs[sending.job_id]
        event = job.events[sending.sequence - 1]
        attempt, decision = DECISIONS[outcome]
        if event.lease_until is None or event.token != sending.token:
            with pytest.raises(StaleLease):
                self.stores.events.record(sending, attempt, decision, self.now)
            return
        self.stores.events.record(sending, attempt, decision, self.now)
        job.record(event, outcome, sending.tries, self.now)

    @rule(job_id=jobs, outcomes=st.lists(st.sampled_from(["delivered", "delivered", *DECISIONS]), min_size=1))
    def deliver(self, job_id: str, outcomes: list[str]) -> None:
        """A sender tries what is due, one event after the other."""
        for outcome in outcomes:
            sending = self.try_event(job_id)
            if isinstance(sending, Sending):
                self.record(sending, outcome)

    @rule(target=sendings, job_id=jobs)
    def lose_the_sender(self, job_id: str) -> Any:
        """A try whose lease runs out, and is made again; both senders may yet come to record."""
        first = self.try_event(job_id)
        self.advance(SENDING_MS + 1)
        second = self.try_event(job_id)
        return multiple(*(each for each in (first, second) if isinstance(each, Sending)))

    # -- operators

    @rule(job_id=jobs, state=st.sampled_from(State))
    def redeliver(self, job_id: str, state: State) -> None:
        """An event is wanted again, which may be pending, under way, settled, never built or not there."""
        job = self.model.jobs[job_id]
        event = next((each for each in job.events if each.state is state), None)
        if event is None or not event.built:
            with pytest.raises(EventNotFound if event is None else EventSkipped):
                self.stores.redelivery.redeliver(job_id, state, self.now)
            return
        if event.status == "skipped":
            self.asked_for.add((job_id, job.events.index(event) + 1))
        self.stores.redelivery.redeliver(job_id, state, self.now)
        job.redeliver(event, self.now)

    @rule(job_id=jobs, state=st.sampled_from([State.QUEUED, State.LOADING]), outcome=st.sampled_from(list(DECISIONS)))
    def redeliver_under_way(self, job_id: str, state: State, outcome: str) -> None:
        """Somebody asks for an event, the same or another, just as a sender tries one."""
        sending = self.try_event(job_id)
        self.redeliver(job_id, state)
        self.try_event(job_id)
        if isinstance(sending, Sending):
            self.record(sending, outcome)

    @rule(ago_ms=st.sampled_from([0, 4_000, LEASE_MS, 10**9]), limit=st.integers(1, 3))
    def recover(self, ago_ms: int, limit: int) -> None:
        """What died since a moment is wanted again, but for what its receiver wanted no more."""
        since = self.now - ago_ms
        dead = [
            (job, event)
            for job in self.model.jobs.values()
            for event in job.events
            if event.status == "dead" and event.created_at >= since and not event.gone
        ]
        place, recovered = None, 0
        while True:
            batch = self.stores.redelivery.recover(since, None, self.now, place=place, limit=limit)
            recovered, place = recovered + batch.events, batch.place
            if place is None:
                break
        assert recovered == len(dead)
        for job, event in dead:
            job.redeliver(event, self.now)

    # -- what is always so

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        """States, attempts, readiness and every event of every job."""
        found = {job.id: job for job in self.stores.jobs.page(Filter(limit=1000))}
        assert found.keys() == self.model.jobs.keys()
        for job_id, job in self.model.jobs.items():
            shown = found[job_id]
            assert [state for state, _ in shown.reached] == job.states
            assert (shown.attempt, shown.failure.code if shown.failure else None) == (job.attempt, job.cause)
            moments = [at for _, at in shown.reached]
            assert moments == sorted(moments)
        assert list(self.stores.claims.ready(self.now, 1000)) == self.ready()

    @invariant()
    def every_state_has_one_event_in_its_place(self) -> None:
        """Sequences count the states of a job from 1, and each event stands where the model has it."""
        with database.read():
            rows = list(EventRow.select().order_by(EventRow.job_id, EventRow.sequence))
        expected = [
            (job_id, sequence, str(event.state), event.status, event.due, event.lease_until, event.tries, event.since)
            for job_id, job in sorted(self.model.jobs.items())
            for sequence, event in enumerate(job.events, 1)
        ]
        assert [
            (
                row.job_id,
                row.sequence,
                row.state,
                row.status,
                row.next_attempt_at,
                row.lease_until,
                row.attempts,
                row.tries,
            )
            for row in rows
        ] == expected

    @invariant()
    def one_pending_event_of_a_job_has_the_turn(self) -> None:
        """Never two, so that a receiver never gets two at once; and never none, for then nobody would be told."""
        for job in self.model.jobs.values():
            assert sum(event.due is not None for event in job.events) == bool(job.pending)

    @invariant()
    def slots_are_never_exceeded(self) -> None:
        """Leases in the database, counted by upstream."""
        assert sum(each.used for each in Upstreams(self.stores.claims.upstreams).standings()) <= self.model.slots

    @invariant()
    def no_event_is_tried_before_the_one_in_front_of_it(self) -> None:
        """First tries of a job's events come in the order of its states, but for those that were skipped."""
        for job_id in self.model.jobs:
            sequences = [sequence for each, sequence in self.first_tries if each == job_id]
            assert sequences == sorted(sequences)

    # -- parts of the rules

    def held(self, claim: Claim, write: Any) -> ModelJob | None:
        """Write under a claim; the model's job if the claim holds, None (and StaleLease was raised) if it does not."""
        job = self.model.jobs[claim.job.id]
        if job.holds(claim.token):
            write()
            return job
        with pytest.raises(StaleLease):
            write()
        return None

    def asked_to_end(self, claim: Claim) -> bool:
        """Whether a run that is over otherwise is told, instead, that somebody wanted it ended."""
        job = self.model.jobs[claim.job.id]
        if not job.asked_to_end or not job.holds(claim.token):
            return job.asked_to_end
        assert self.stores.claims.retry(claim, self.now, counted=True) is Cause.CANCELLED
        assert self.stores.claims.complete(claim, completion(job.id), {}, self.now) is Cause.CANCELLED
        assert self.stores.claims.finish(claim, completion(job.id), {}, self.now) is Cause.CANCELLED
        return True

    def ready(self) -> list[str]:
        """Jobs that could be claimed, the best first."""
        ready = [job for job in self.model.jobs.values() if job.ready_at is not None and job.ready_at <= self.now]
        return [job.id for job in sorted(ready, key=lambda job: (job.priority, job.ready_at or 0, job.id))]


@pytest.mark.timeout(600)  # passing takes seconds, but a failure is worth the minutes in which it is shrunk
def test_random_causes_agree_with_the_lifecycle(engine: Engine) -> None:
    """Whatever order things happen in, the store and the model of it never differ."""
    run_state_machine_as_test(partial(StoreMachine, engine), settings=EFFORT)  # type: ignore[arg-type]  # a factory does
