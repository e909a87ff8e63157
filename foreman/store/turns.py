"""Which of a job's pending events is to be tried: one at a time, in the order of the states.

It is the only one with ``next_attempt_at``. It is the first pending one; but an event that was redelivered does not
take the turn from a later one whose try is under way, so that a receiver never gets two events of one job at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peewee import SQL

from foreman.store.database import locked
from foreman.store.models import EventRow
from foreman.store.prepared import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment


def pass_turn(job_id: str, now: Moment) -> None:
    """Give the turn to whom it belongs, due ``now`` unless it has it already; within a transaction on the job's row."""
    rows = _WAITING.rows(job_id=job_id)
    head = _turn([row for row in rows if row.status == "pending"], now)
    for row in rows:
        if row is not head and row.next_attempt_at is not None:
            _SET_DUE.execute(job_id=job_id, sequence=row.sequence, next_attempt_at=None)
        elif row is head and row.next_attempt_at is None:
            _SET_DUE.execute(job_id=job_id, sequence=row.sequence, next_attempt_at=now)


def _turn(pending: Sequence[Any], now: Moment) -> Any:  # noqa: ANN401  (rows of a prepared statement)
    under_way = (row for row in pending if row.next_attempt_at is not None and (row.lease_until or 0) >= now)
    return next(under_way, pending[0] if pending else None)


def _waiting(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    waiting = (EventRow.status == SQL("'pending'")) | EventRow.next_attempt_at.is_null(is_null=False)
    columns = (EventRow.sequence, EventRow.status, EventRow.next_attempt_at, EventRow.lease_until)
    rows = EventRow.select(*columns).where((EventRow.job_id == given.job_id) & waiting).order_by(EventRow.sequence)
    # Whoever claims an event locks it alone, not the job: unseen here, it would lose its turn while its try is made.
    return locked(rows)


_WAITING = Statement(_waiting)

_SET_DUE = Statement(
    lambda given: EventRow.update(next_attempt_at=given.next_attempt_at).where(
        (EventRow.job_id == given.job_id) & (EventRow.sequence == given.sequence)
    )
)
