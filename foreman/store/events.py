"""The outbox from the sender's side: which event is next, who holds it, what became of each try.

Order per job comes from one rule: only the event whose turn it is has ``next_attempt_at``, so no other can be claimed.
The turn passes on in the transaction that ends the event: see ``turns.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from peewee import SQL, fn

from foreman.domain.came_with import CameWith
from foreman.domain.delivery import Attempt, Dead, Decision, Delivered, RetryIn, Stopped
from foreman.domain.event import event_id
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.origin_health import WELL
from foreman.errors import StaleLease
from foreman.store.database import is_postgres, locked, proxy, read, write
from foreman.store.jobs import LOCK
from foreman.store.models import AttemptRow, EventRow, JobRow, OriginRow
from foreman.store.origins import health_of
from foreman.store.prepared import Statement
from foreman.store.shared import write_shared
from foreman.store.turns import pass_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment

#: Asked last, when all else allows a try: whether this process has a sender for the origin, and for a retry (true) or a
#: first try.
Admits = Callable[[str, bool], bool]


def _always(_origin: str, _retry: bool) -> bool:  # noqa: FBT001  as ``Admits``
    return True


#: Origins that one look for due events goes through at most: three queries each, some 0.1 s in all.
ORIGINS_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Sending:
    """The right to try one event once; ``token`` fences the record of the outcome."""

    job_id: str
    sequence: int
    state: State
    url: str
    origin: str
    body: bytes
    #: This try, from 1.
    attempt: int
    #: The same, counted since the event was built or last redelivered.
    tries: int
    token: int
    #: When the job came to the state that the event announces.
    created_at: Moment
    #: With the job's submission.
    came_with: CameWith
    #: Whether the origin's last try, as far as was known then, found it down.
    doubted: bool

    @property
    def event_id(self) -> str:
        """What the receiver dedupes on."""
        return event_id(self.job_id, self.state)

    @property
    def terminal(self) -> bool:
        """Whether the event announces the end of its job."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class EventStatus:
    """An event as ``GET /jobs/{id}`` shows it, by its columns; ``next_attempt_at`` is None unless it is tried next."""

    state: State
    sequence: int
    status: str
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: Moment | None
    delivered_at: Moment | None


@dataclass(frozen=True, slots=True)
class Due:
    """What one look for due events found, and behind which origin the next look is to begin; empty: at the first."""

    job_ids: Sequence[str]
    after: str


@dataclass(frozen=True, slots=True)
class Events:
    """The events table. ``lease_ms`` bounds a try; ``origin_limit`` is how many tries one origin may hold at once."""

    lease_ms: int
    origin_limit: int

    def claim(self, job_id: str, now: Moment, admits: Admits = _always, *, beside: bool = False) -> Sending | None:
        """Take the job's next event if it is due, nobody holds it and there is room for it; else None.

        ``beside``: or else the one that is longest overdue at the job's origin. There is no room if the origin holds as
        many tries as it may, if its circuit is open, or if ``admits`` says so. Whoever ends a try looks for the
        origin's next due event, so a None for want of room is not lost.
        """
        with read():
            origin = _ORIGIN.scalar(job_id=job_id) if beside else None
            if not _IS_DUE.rows(job_id=job_id, now=now) and not (origin and _IS_OVERDUE.rows(origin=origin, now=now)):
                return None
        # With the power goes the sender too: undone, the event is due as it was, and is sent again with the same id.
        return write_shared(lambda: self._claim_next(job_id, origin, now, admits), durable=False)

    def _claim_next(self, job_id: str, origin: str | None, now: Moment, admits: Admits) -> Sending | None:
        taken = self._claim(_HEAD.first(job_id=job_id, now=now), now, admits)
        if taken is None and origin is not None:
            taken = self._claim(_OVERDUE.first(origin=origin, now=now), now, admits)
        return taken

    def _claim(self, event: Any, now: Moment, admits: Admits) -> Sending | None:  # noqa: ANN401  (a prepared statement's row)
        if event is None:
            return None
        health = health_of(event.origin)
        most = (health or WELL).most_at_once(self.origin_limit, now)
        if not most or self._in_flight(event.origin, now) >= most or not admits(event.origin, event.tries > 0):
            return None
        return self._take(event, now, doubted=health is not None)

    def _in_flight(self, origin: str, now: Moment) -> int:
        if is_postgres():
            # Counting is only safe one at a time for an origin; the lock goes with the transaction.
            proxy.obj.execute_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (origin,))
        return int(_IN_FLIGHT.scalar(origin=origin, now=now))

    def _take(self, event: Any, now: Moment, *, doubted: bool) -> Sending:  # noqa: ANN401  (as above)
        row = _TAKE.first(job_id=event.job_id, sequence=event.sequence, lease_until=now + self.lease_ms)
        _INSERT_ATTEMPT.execute(job_id=row.job_id, sequence=row.sequence, attempt=row.attempts, at=now)
        url, *came_with = _GOES_TO.first(job_id=row.job_id)
        return Sending(
            job_id=row.job_id,
            sequence=row.sequence,
            state=State(row.state),
            url=url,
            origin=row.origin,
            body=bytes(row.body),
            attempt=row.attempts,
            tries=row.tries,
            token=row.lease_token,
            created_at=row.created_at,
            came_with=CameWith(*came_with),
            doubted=doubted,
        )

    def record(
        self, sending: Sending, attempt: Attempt, decision: Decision, now: Moment, then: Admits | None = None
    ) -> Sending | None:
        """Write what came of a try, and make the job's next event due when this one is over.

        An event that was redelivered while this try was under way is due again at once, unless this try ended it well.
        With ``then`` the sender goes on: what ``claim`` would give it, admitted by ``then``, is claimed in the same
        transaction, when the place of this try is free again, and returned.

        Raises:
            StaleLease: the try took longer than its lease and somebody else has the event; nothing was written.
        """

        def do() -> Sending | None:
            _record(sending, attempt, decision, now)
            return self._claim_next(sending.job_id, sending.origin, now, then) if then else None

        return write_shared(do)

    def hopeless(self, before: Moment, limit: int) -> Sequence[str]:
        """Jobs whose next event has been due since ``before`` at an origin whose circuit has not closed since then."""
        not_closed = OriginRow.open_until.is_null(is_null=False) & (OriginRow.opened_at <= before)
        shut = OriginRow.select(OriginRow.origin).where(not_closed)
        with read():
            rows = EventRow.select(EventRow.job_id).where(_due(before) & EventRow.origin.in_(shut))
            return [row.job_id for row in rows.order_by(EventRow.next_attempt_at).limit(limit)]

    def give_up(self, job_id: str, before: Moment, now: Moment) -> bool:
        """Make a job's events of before ``before`` dead, unless the next one is being sent or is not due since then."""
        with write():
            LOCK.first(job_id=job_id)  # as in ``record``
            if _HEAD.first(job_id=job_id, now=before) is None:
                return False
            old = (EventRow.job_id == job_id) & _is("pending") & (EventRow.created_at <= before)
            EventRow.update(status="dead", next_attempt_at=None).where(old).execute()
            pass_turn(job_id, now)
            return True

    def next_due(self, origin: str, now: Moment, limit: int = 1) -> Sequence[str]:
        """Jobs with an event due at ``origin`` that nobody holds, longest overdue first; at most ``limit``."""
        with read():
            return [row.job_id for row in _NEXT_DUE.rows(origin=origin, now=now, limit=limit)]

    def due(self, now: Moment, limit: int, after: str = "") -> Due:
        """Jobs with an event due that nobody holds: what the sweep wakes senders for, one origin after the other.

        Of each origin no more than it may hold tries, longest overdue first, so that a crowd does not hide the rest;
        none of one whose circuit is not closed: see ``Origins.probes``. Begins behind the origin ``after``.
        """
        found: list[str] = []
        with read():
            for _ in range(ORIGINS_LOOKED_AT):
                origin = _origin_behind(after) if len(found) < limit else None
                if origin is None:
                    return Due(found, after if len(found) >= limit else "")
                after = origin
                if (health_of(origin) or WELL).open_until is None:
                    found += self.next_due(origin, now, min(self.origin_limit, limit - len(found)))
        return Due(found, after)

    def of(self, job_id: str) -> Sequence[EventStatus]:
        """The job's events in order."""
        shown = (getattr(EventRow, each.name) for each in fields(EventStatus))
        rows: Any = EventRow.select(*shown).where(EventRow.job_id == job_id).order_by(EventRow.sequence).tuples()
        with read():
            events = [EventStatus(State(state), *rest) for state, *rest in rows]
            health = health_of(_origin_of(job_id)) if any(event.next_attempt_at for event in events) else None
        return events if health is None else [_not_before(health.open_until, event) for event in events]

    def counts(self) -> dict[str, int]:
        """How many events are ``pending`` and how many ``dead``."""
        with read():
            return {status: int(EventRow.select().where(_is(status)).count()) for status in ("pending", "dead")}


def _record(sending: Sending, attempt: Attempt, decision: Decision, now: Moment) -> None:
    # Whoever adds an event holds the job's row, so none can slip in between the look for the next one and the end of
    # this transaction, and be left with nobody to make it due.
    LOCK.first(job_id=sending.job_id)
    if isinstance(decision, RetryIn | Dead) and _redelivered(sending):
        decision = RetryIn(0.0)
    this = {"job_id": sending.job_id, "sequence": sending.sequence}
    changes = _outcome(decision, now) | {"last_status": attempt.status, "last_error": attempt.error}
    if not _record_of(tuple(sorted(changes))).execute(**this, token=sending.token, **changes):
        raise StaleLease(sending.job_id)
    _RECORD_ATTEMPT.execute(
        **this,
        attempt=sending.attempt,
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error=attempt.error,
        excerpt=attempt.excerpt,
    )
    if isinstance(decision, Stopped):
        _stop(sending.job_id)
    pass_turn(sending.job_id, now)


def _redelivered(sending: Sending) -> bool:
    """Whether the event's schedule was begun anew during the try."""
    tries = _TRIES.scalar(job_id=sending.job_id, sequence=sending.sequence)
    return tries is not None and tries < sending.tries


def _origin_behind(origin: str) -> str | None:
    """The next origin, in alphabetical order, that an event waits for."""
    behind = (EventRow.origin > origin) & EventRow.next_attempt_at.is_null(is_null=False)
    found = EventRow.select(EventRow.origin).where(behind).order_by(EventRow.origin).limit(1).scalar()
    return None if found is None else str(found)


def _origin_of(job_id: str) -> str | None:
    origin = _ORIGIN.scalar(job_id=job_id)
    return None if origin is None else str(origin)


def _not_before(moment: Moment | None, event: EventStatus) -> EventStatus:
    """The event as it is while nothing is sent to its origin before ``moment``."""
    if moment is None or event.next_attempt_at is None:
        return event
    return replace(event, next_attempt_at=max(event.next_attempt_at, moment))


def _is(status: str) -> SQL:
    """An event's status, as a literal: the indexes on it are partial, and a parameter would not be known to match."""
    return SQL(f"status = '{status}'")


def _due(now: Any) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    return (EventRow.next_attempt_at <= now) & (EventRow.lease_until.is_null() | (EventRow.lease_until < now))


def _outcome(decision: Decision, now: Moment) -> dict[str, Any]:
    """The columns in which a decision shows."""
    match decision:
        case Delivered():
            return {"status": "delivered", "delivered_at": now, "next_attempt_at": None}
        case RetryIn(delay_s):
            return {"next_attempt_at": now + round(delay_s * 1000)}
        case Dead() | Stopped():
            return {"status": "dead", "next_attempt_at": None}


def _stop(job_id: str) -> None:
    """The receiver wants no more of this job: what waits is skipped, and so is what will come."""
    JobRow.update(webhook_stopped=True).where(JobRow.id == job_id).execute()
    pending = (EventRow.job_id == job_id) & _is("pending")
    EventRow.update(status="skipped", next_attempt_at=None).where(pending).execute()


def _this(given: Any) -> Any:  # noqa: ANN401  (as above)
    return (EventRow.job_id == given.job_id) & (EventRow.sequence == given.sequence)


def _head(given: Any) -> Any:  # noqa: ANN401  (as above)
    return (
        EventRow.select()
        .where((EventRow.job_id == given.job_id) & _due(given.now))
        .order_by(EventRow.sequence)
        .limit(1)
    )


def _overdue(given: Any, limit: Any = 1) -> Any:  # noqa: ANN401  (as above)
    due = EventRow.select().where((EventRow.origin == given.origin) & _due(given.now))
    return due.order_by(EventRow.next_attempt_at).limit(limit)


_HEAD = Statement(lambda given: locked(_head(given)))

_OVERDUE = Statement(lambda given: locked(_overdue(given), skip=True))

_IS_DUE = Statement(lambda given: _head(given).select(EventRow.sequence))

_IS_OVERDUE = Statement(lambda given: _overdue(given).select(EventRow.job_id))

_NEXT_DUE = Statement(lambda given: _overdue(given, given.limit).select(EventRow.job_id))

_ORIGIN = Statement(lambda given: EventRow.select(EventRow.origin).where(EventRow.job_id == given.job_id).limit(1))

_IN_FLIGHT = Statement(
    lambda given: EventRow.select(fn.COUNT(EventRow.job_id)).where(
        (EventRow.origin == given.origin) & (EventRow.lease_until >= given.now)
    )
)

_TAKE = Statement(
    lambda given: (
        EventRow.update(
            lease_until=given.lease_until,
            lease_token=EventRow.lease_token + 1,
            attempts=EventRow.attempts + 1,
            tries=EventRow.tries + 1,
        )
        .where(_this(given))
        .returning(EventRow)
    )
)

_INSERT_ATTEMPT = Statement(
    lambda given: AttemptRow.insert(job_id=given.job_id, sequence=given.sequence, attempt=given.attempt, at=given.at)
)

_GOES_TO = Statement(
    lambda given: JobRow.select(JobRow.webhook_url, JobRow.request_id, JobRow.traceparent).where(
        JobRow.id == given.job_id
    )
)

_TRIES = Statement(lambda given: EventRow.select(EventRow.tries).where(_this(given)))

_RECORD_ATTEMPT = Statement(
    lambda given: AttemptRow.update(
        duration_ms=given.duration_ms, status=given.status, error=given.error, excerpt=given.excerpt
    ).where(
        (AttemptRow.job_id == given.job_id)
        & (AttemptRow.sequence == given.sequence)
        & (AttemptRow.attempt == given.attempt)
    )
)


@cache
def _record_of(columns: tuple[str, ...]) -> Statement:
    """The UPDATE that ends a try, under its lease, and writes ``columns``."""

    def build(given: Any) -> Any:  # noqa: ANN401  (as above)
        held = (EventRow.lease_token == given.token) & EventRow.lease_until.is_null(is_null=False)
        changes = {each: getattr(given, each) for each in columns} | {"lease_until": None}
        return EventRow.update(changes).where(_this(given) & held)

    return Statement(build)
