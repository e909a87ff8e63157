"""What was sent and what is to be, for whoever looks: the tries of one job, the events of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import SQL

from foreman.domain.delivery import Outcome, is_success
from foreman.domain.lifecycle import State
from foreman.store.database import read
from foreman.store.models import AttemptRow, EventRow

if TYPE_CHECKING:
    from foreman.domain.job import Moment

#: What an event can have come to; each has a partial index over the events that have.
STATUSES = ("pending", "delivered", "dead", "skipped")


@dataclass(frozen=True, slots=True)
class Try:
    """One try; ``status`` and ``error`` both None: it is under way, or its sender died and nobody knows."""

    at: Moment
    sequence: int
    #: From 1 for each event.
    attempt: int
    state: State
    duration_ms: int | None
    status: int | None
    error: str | None
    #: The beginning of what the receiver answered; None with the two above.
    excerpt: str | None
    under_way: bool

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.status is None and self.error is None:
            return Outcome.IN_FLIGHT if self.under_way else Outcome.UNKNOWN
        return Outcome.DELIVERED if is_success(self.status) else Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in a listing over all jobs."""

    job_id: str
    sequence: int
    state: State
    status: str
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: Moment
    #: None unless it is the next of its job to be tried.
    next_attempt_at: Moment | None
    delivered_at: Moment | None
    origin: str | None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a listing shows; None does not restrict. ``before``: job and sequence of the last one before."""

    status: str | None = None
    job_id: str | None = None
    before: tuple[str, int] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The tables ``events`` and ``attempts``, to be read."""

    def tries(self, job_id: str, now: Moment, *, after: tuple[Moment, int, int] | None, limit: int) -> list[Try]:
        """At most ``limit`` tries of the job's events, oldest first.

        ``after`` is the last one of the page before, by its moment, its event's sequence and its attempt.
        """
        place = (AttemptRow.at, AttemptRow.sequence, AttemptRow.attempt)
        last = (AttemptRow.attempt == EventRow.attempts) & (EventRow.lease_until >= now)
        query: Any = (
            AttemptRow.select(
                *place,
                EventRow.state,
                AttemptRow.duration_ms,
                AttemptRow.status,
                AttemptRow.error,
                AttemptRow.excerpt,
                last,
            )
            .join(EventRow, on=(EventRow.job_id == AttemptRow.job_id) & (EventRow.sequence == AttemptRow.sequence))
            .where(AttemptRow.job_id == job_id)
        )
        if after is not None:
            at, sequence, attempt = after
            of_event = (AttemptRow.sequence > sequence) | (
                (AttemptRow.sequence == sequence) & (AttemptRow.attempt > attempt)
            )
            query = query.where((AttemptRow.at > at) | ((AttemptRow.at == at) & of_event))
        with read():
            rows = list(query.order_by(*place).limit(limit).tuples())
        return [
            Try(at, sequence, attempt, State(state), ms, status, error, excerpt, bool(held) and ms is None)
            for at, sequence, attempt, state, ms, status, error, excerpt, held in rows
        ]

    def events(self, wanted: EventFilter) -> list[Entry]:
        """At most ``wanted.limit`` events: those of the newest job first, and of one job the last first."""
        shown = (
            EventRow.job_id,
            EventRow.sequence,
            EventRow.state,
            EventRow.status,
            EventRow.attempts,
            EventRow.last_status,
            EventRow.last_error,
            EventRow.created_at,
            EventRow.next_attempt_at,
            EventRow.delivered_at,
            EventRow.origin,
        )
        query: Any = EventRow.select(*shown)
        if wanted.status in STATUSES:
            # A literal, since the indexes on it are partial; one of four words, and nothing else.
            query = query.where(EventRow.status == SQL(f"'{wanted.status}'"))
        if wanted.job_id is not None:
            query = query.where(EventRow.job_id == wanted.job_id)
        if wanted.before is not None:
            job_id, sequence = wanted.before
            query = query.where(
                (EventRow.job_id <= job_id) & ((EventRow.job_id < job_id) | (EventRow.sequence < sequence))
            )
        with read():
            rows = list(query.order_by(EventRow.job_id.desc(), EventRow.sequence.desc()).limit(wanted.limit).tuples())
        return [Entry(job_id, sequence, State(state), *rest) for job_id, sequence, state, *rest in rows]
