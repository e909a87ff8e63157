"""What the store should do, over plain values and ``domain/lifecycle``: no database, no concurrency."""

from __future__ import annotations

from dataclasses import dataclass, field

from foreman.domain.job import Priority
from foreman.domain.lifecycle import TERMINAL, Cause, State, can_move


@dataclass
class ModelEvent:
    """An event of the outbox."""

    state: State
    status: str
    due: int | None
    created_at: int
    lease_until: int | None = None
    token: int = 0
    tries: int = 0
    #: Tries since it was built or last redelivered.
    since: int = 0
    built: bool = True
    #: The last answer was 410.
    gone: bool = False


@dataclass
class ModelJob:
    """A job with its events."""

    id: str
    priority: Priority
    #: None: no webhook.
    wanted: frozenset[State] | None
    ready_at: int | None
    states: list[State] = field(default_factory=list)
    lease_until: int | None = None
    token: int = 0
    attempt: int = 0
    losses: int = 0
    unstored: bool = False
    stopped: bool = False
    cause: Cause | None = None
    asked_to_end: bool = False
    events: list[ModelEvent] = field(default_factory=list)

    @property
    def state(self) -> State:
        """Where it is."""
        return self.states[-1]

    @property
    def pending(self) -> list[ModelEvent]:
        """Its events that are neither accepted nor given up, in order."""
        return [event for event in self.events if event.status == "pending"]

    def move(self, after: State, now: int) -> None:
        """Enter a state, and announce it if somebody wants to know."""
        assert not self.states or can_move(self.state, after)
        self.states.append(after)
        if after in TERMINAL:
            self.ready_at = self.lease_until = None
        if self.wanted is not None:
            pending = after in self.wanted and not self.stopped
            due = now if pending and not self.pending else None
            self.events.append(ModelEvent(after, "pending" if pending else "skipped", due, now, built=pending))

    def holds(self, token: int) -> bool:
        """Whether a claim with this token may still write."""
        return self.lease_until is not None and self.token == token

    def fail(self, cause: Cause, now: int) -> None:
        """End as failed; a wish to end it is the reason if there is one."""
        self.cause = Cause.CANCELLED if self.asked_to_end else cause
        self.move(State.FAILED, now)

    def record(self, event: ModelEvent, outcome: str, since: int, now: int) -> None:
        """A try that began as the ``since``-th of its schedule came to ``outcome``."""
        event.lease_until, event.gone = None, outcome == "stopped"
        if outcome in {"again", "dead"} and event.since < since:
            event.due = now
        elif outcome == "again":
            event.due = now + 5_000
        else:
            event.status, event.due = "dead" if outcome == "stopped" else outcome, None
        if outcome == "stopped":
            self.stopped = True
            for other in self.pending:
                other.status, other.due = "skipped", None
        self.pass_turn(now)

    def redeliver(self, event: ModelEvent, now: int) -> None:
        """Somebody wants it sent, again perhaps."""
        event.status, event.since = "pending", 0
        if event.due is not None:
            event.due = now
        self.pass_turn(now)

    def pass_turn(self, now: int) -> None:
        """One pending event is due: the one being tried, or else the first."""
        under_way = [event for event in self.pending if event.due is not None and (event.lease_until or 0) >= now]
        turn = next(iter(under_way or self.pending), None)
        for event in self.events:
            event.due = None if event is not turn else now if event.due is None else event.due


@dataclass
class Model:
    """All jobs, and the one upstream and receiver."""

    slots: int
    origin_limit: int
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    held_until: int = 0

    def next_job(self, now: int) -> ModelJob | None:
        """Whom a claim takes: priority, then who has been ready longest, then the lower id; nobody without a slot."""
        leases = [job for job in self.jobs.values() if job.lease_until is not None]
        if self.held_until > now or len(leases) >= self.slots:
            return None
        ready = [job for job in self.jobs.values() if job.ready_at is not None and job.ready_at <= now]
        return min(ready, key=lambda job: (job.priority, job.ready_at, job.id), default=None)

    def expired(self, now: int) -> list[ModelJob]:
        """Jobs whose lease ran out."""
        return [job for job in self.jobs.values() if job.lease_until is not None and job.lease_until < now]

    def next_event(self, job: ModelJob, now: int) -> ModelEvent | None:
        """What a sender gets: the event whose turn it is if it is due and free, and its origin has room."""
        tries = [event.lease_until for each in self.jobs.values() for event in each.events]
        in_flight = sum(until is not None and until >= now for until in tries)
        turn = next((event for event in job.pending if event.due is not None), None)
        if turn is None or in_flight >= self.origin_limit:
            return None
        free = turn.lease_until is None or turn.lease_until < now
        return turn if free and turn.due is not None and turn.due <= now else None
