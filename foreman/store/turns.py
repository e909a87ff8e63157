"""Which of a job's pending events is to be tried: one at a time, in the order of the states.

It is the only one with ``next_attempt_at``. It is the first pending one; but an event that was redelivered does not
take the turn from a later one whose try is under way, so that a receiver never gets two events of one job at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peewee import SQL

from foreman.store.models import EventRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment


def pass_turn(job_id: str, now: Moment) -> None:
    """Give the turn to whom it belongs, due ``now`` unless it has it already; within a transaction on the job's row."""
    waiting = (EventRow.status == SQL("'pending'")) | EventRow.next_attempt_at.is_null(is_null=False)
    columns = (EventRow.sequence, EventRow.status, EventRow.next_attempt_at, EventRow.lease_until)
    rows = list(EventRow.select(*columns).where((EventRow.job_id == job_id) & waiting).order_by(EventRow.sequence))
    head = _turn([row for row in rows if row.status == "pending"], now)
    for row in rows:
        this = (EventRow.job_id == job_id) & (EventRow.sequence == row.sequence)
        if row is not head and row.next_attempt_at is not None:
            EventRow.update(next_attempt_at=None).where(this).execute()
        elif row is head and row.next_attempt_at is None:
            EventRow.update(next_attempt_at=now).where(this).execute()


def _turn(pending: Sequence[EventRow], now: Moment) -> EventRow | None:
    under_way = (row for row in pending if row.next_attempt_at is not None and (row.lease_until or 0) >= now)
    return next(under_way, pending[0] if pending else None)
