"""Webhook origins whose last try failed: a row from the first failure to the next answer, none for all others.

So a healthy origin costs its senders one look at an absent row, and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import EXCLUDED, SQL, fn

from foreman.domain.origin_health import Circuit, CircuitPolicy, Health, after_failure
from foreman.store.database import read, write
from foreman.store.models import EventRow, OriginRow
from foreman.store.prepared import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.delivery import Attempt
    from foreman.domain.job import Moment

#: The circuit is not closed.
_SHUT = OriginRow.open_until.is_null(is_null=False)


@dataclass(frozen=True, slots=True)
class OriginStatus:
    """An origin as ``GET /webhooks/origins`` shows it."""

    origin: str
    circuit: Circuit
    #: Tries that failed in a row.
    failures: int
    #: Tries under way, and events that are still to be delivered.
    in_flight: int
    pending: int
    #: When a single try is made; None while the circuit is closed.
    next_probe_at: Moment | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins table; ``policy`` says when a circuit opens."""

    policy: CircuitPolicy

    def failed(self, origin: str, attempt: Attempt, *, jitter: float, now: Moment) -> Health:
        """Note that ``attempt`` found ``origin`` down; returns its health. ``jitter`` is a factor around 1."""
        this = OriginRow.origin == origin
        with write():
            # An update that changes nothing locks the row: ``answered`` may be about to take it away.
            same = {OriginRow.origin: EXCLUDED.origin}
            OriginRow.insert(origin=origin).on_conflict(conflict_target=[OriginRow.origin], update=same).execute()
            row = OriginRow.get(this)
            health = after_failure(
                _health(row), waiting=self._waiting(origin), policy=self.policy, jitter=jitter, now=now
            )
            OriginRow.update(
                failures=health.failures,
                openings=health.openings,
                opened_at=health.opened_at,
                open_until=health.open_until,
                last_status=attempt.status,
                last_error=attempt.error,
                changed_at=now,
            ).where(this).execute()
            return health

    def answered(self, origin: str) -> bool:
        """Forget all that was held against ``origin``; returns whether its circuit has closed by that."""
        with write():
            gone = list(OriginRow.delete().where(OriginRow.origin == origin).returning(OriginRow.open_until).execute())
            return any(row.open_until is not None for row in gone)

    def probes(self, now: Moment, limit: int) -> Sequence[str]:
        """For each origin whose circuit is half open the job whose event has been due there longest."""
        shut = OriginRow.select(OriginRow.origin).where(OriginRow.open_until <= now).order_by(OriginRow.open_until)
        with read():
            found = (_longest_due(row.origin, now) for row in shut.limit(limit))
            return [job_id for job_id in found if job_id is not None]

    def forget(self, before: Moment) -> None:
        """Forget the failures of before ``before`` of origins that no event waits for."""
        waits = EventRow.select().where(
            (EventRow.origin == OriginRow.origin) & EventRow.next_attempt_at.is_null(is_null=False)
        )
        with write():
            OriginRow.delete().where((OriginRow.changed_at < before) & ~fn.EXISTS(waits)).execute()

    def of_note(self, now: Moment, limit: int) -> Sequence[OriginStatus]:
        """Origins whose circuit is not closed, then others with events pending, the most first."""
        # A literal: the index is partial, and a parameter would not be known to match.
        waits = SQL("status = 'pending'")
        with read():
            shut = OriginRow.select().where(_SHUT)
            failing = OriginRow.select().where(OriginRow.origin.in_(EventRow.select(EventRow.origin).where(waits)))
            rows = {row.origin: row for query in (shut, failing) for row in query}
            pending = _counted(waits)
            in_flight = _counted(EventRow.lease_until >= now)
        found = [_status(each, rows.get(each), pending, in_flight, now) for each in rows.keys() | pending.keys()]
        found.sort(key=lambda each: (each.circuit is Circuit.CLOSED, -each.pending, each.origin))
        return found[:limit]

    def circuits(self, now: Moment) -> dict[Circuit, int]:
        """How many circuits are not closed, by their state."""
        with read():
            found = Counter(_health(row).circuit(now) for row in OriginRow.select().where(_SHUT))
        return {circuit: found[circuit] for circuit in (Circuit.OPEN, Circuit.HALF_OPEN)}

    def _waiting(self, origin: str) -> int:
        """How many events wait there, each the next of its job; counted no further than the policy asks."""
        here = (EventRow.origin == origin) & EventRow.next_attempt_at.is_null(is_null=False)
        return int(EventRow.select(EventRow.job_id).where(here).limit(self.policy.waiting).count())


def health_of(origin: str | None) -> Health | None:
    """What is held against an origin, within the caller's transaction; None if nothing is."""
    row = _HEALTH.first(origin=origin)
    return None if row is None else _health(row)


_HEALTH = Statement(lambda given: OriginRow.select().where(OriginRow.origin == given.origin))


def _health(row: OriginRow) -> Health:
    return Health(row.failures, row.openings, row.opened_at, row.open_until)


def _longest_due(origin: str, now: Moment) -> str | None:
    due = (EventRow.origin == origin) & (EventRow.next_attempt_at <= now)
    found = EventRow.select(EventRow.job_id).where(due).order_by(EventRow.next_attempt_at).limit(1).scalar()
    return None if found is None else str(found)


def _counted(which: Any) -> Counter[str]:  # noqa: ANN401  (peewee's expressions are untyped)
    counted: Any = EventRow.select(EventRow.origin, fn.COUNT(EventRow.job_id)).where(which).group_by(EventRow.origin)
    return Counter(dict(counted.tuples()))


def _status(
    origin: str, row: OriginRow | None, pending: Counter[str], in_flight: Counter[str], now: Moment
) -> OriginStatus:
    health = Health() if row is None else _health(row)
    return OriginStatus(
        origin,
        health.circuit(now),
        health.failures,
        in_flight[origin],
        pending[origin],
        health.open_until,
        None if row is None else row.last_status,
        None if row is None else row.last_error,
    )
