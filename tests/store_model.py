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
    lease_until: int | None = None
    token: int = 0
    tries: int = 0


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
            self.events.append(ModelEvent(after, "pending" if pending else "skipped", due))

    def holds(self, token: int) -> bool:
        """Whether a claim with this token may still write."""
        return self.lease_until is not None and self.token == token

    def fail(self, cause: Cause, now: int) -> None:
        """End as failed; a wish to end it is the reason if there is one."""
        self.cause = Cause.CANCELLED if self.asked_to_end else cause
        self.move(State.FAILED, now)

    def settle(self, event: ModelEvent, status: str, now: int) -> None:
        """End an event, and give the next one its turn."""
        event.status, event.due = status, None
        if self.pending:
            self.pending[0].due = now

    def stop(self, event: ModelEvent) -> None:
        """The receiver wants no more."""
        self.stopped = True
        event.status, event.due = "dead", None
        for other in self.pending:
            other.status, other.due = "skipped", None


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
        """What a sender gets: the first pending event if it is due and free, and its origin has room."""
        tries = [event.lease_until for each in self.jobs.values() for event in each.events]
        in_flight = sum(until is not None and until >= now for until in tries)
        if not job.pending or in_flight >= self.origin_limit:
            return None
        first = job.pending[0]
        free = first.lease_until is None or first.lease_until < now
        return first if free and first.due is not None and first.due <= now else None
