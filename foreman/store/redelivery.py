"""Beginning an event's schedule anew: one that somebody asks for, or all that died since a moment.

The event's row, body and id stay; its status goes back to pending. Order per job is that of its pending events.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from peewee import SQL

from foreman.errors import EventNotFound, EventSkipped, JobGone
from foreman.store.database import locked, read, write
from foreman.store.models import EventRow, JobRow
from foreman.store.turns import pass_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment
    from foreman.domain.lifecycle import State

#: What makes a settled event one that is to be sent, by a schedule that has not begun.
ANEW = {"status": "pending", "tries": 0, "delivered_at": None}

#: Created at, job, sequence: where a recovery has come to.
Place = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Recovered:
    """One batch of a recovery."""

    #: How many events were made pending again.
    events: int
    #: The jobs whose events they are.
    job_ids: Sequence[str]
    #: Where the next batch begins; None: there is none.
    place: Place | None


@dataclass(frozen=True, slots=True)
class Redelivery:
    """The events table, for whoever wants something sent again."""

    def redeliver(self, job_id: str, state: State, now: Moment) -> None:
        """Make the event pending with a schedule that begins now, whatever became of it; a pending one is due at once.

        One that waits behind an earlier event of its job goes on waiting for its turn. One whose try is under way is
        tried again if that fails.

        Raises:
            EventNotFound: the job has not reached the state, has no webhook, or is not there.
            EventSkipped: the event has no body: it was not to be sent when the state was reached.
            JobGone: the job is over and about to be pruned.
        """
        with write():
            # Whoever records a try or prunes the job holds its row as well.
            job = locked(JobRow.select(JobRow.id, JobRow.expires_at).where(JobRow.id == job_id)).first()
            this = (EventRow.job_id == job_id) & (EventRow.state == state)
            event = EventRow.select(EventRow.status, EventRow.body.is_null().alias("empty")).where(this).first()
            if job is None or event is None:
                raise EventNotFound(job_id, state)
            if event.empty:
                raise EventSkipped(job_id, state)
            if job.expires_at is not None and job.expires_at <= now and not _has_pending(job_id):
                # Its artifact's bytes may be gone already.
                raise JobGone(job_id)
            EventRow.update(ANEW).where(this).execute()
            # One that has waited for its next try has waited enough.
            waiting = EventRow.next_attempt_at.is_null(is_null=False)
            EventRow.update(next_attempt_at=now).where(this & waiting).execute()
            pass_turn(job_id, now)

    def recover(self, since: Moment, origin: str | None, now: Moment, *, place: Place | None, limit: int) -> Recovered:
        """Make pending again at most ``limit`` dead events created at ``since`` or later, oldest first.

        Passed over is what died of a 410, since its receiver wanted no more, and what is over and about to be pruned.
        ``origin`` None takes all. ``place`` is where the batch before ended; None begins.
        """
        with read():
            found = list(_dead(since, origin, place).limit(limit))
        if not found:
            return Recovered(0, (), None)
        with write():
            # Read before the jobs were locked; what has moved since is not dead any more.
            kept = _lock_jobs([row.job_id for row in found], now)
            taken = [row for row in found if row.job_id in kept and _make_pending(row)]
            job_ids = sorted({row.job_id for row in taken})
            for job_id in job_ids:
                pass_turn(job_id, now)
        last = found[-1] if len(found) == limit else None
        return Recovered(len(taken), job_ids, last and (last.created_at, last.job_id, last.sequence))


def _dead(since: Moment, origin: str | None, place: Place | None) -> Any:  # noqa: ANN401  (peewee is untyped)
    kept = (EventRow.last_status.is_null() | (EventRow.last_status != HTTPStatus.GONE)) & (
        EventRow.status == SQL("'dead'")
    )
    order = (EventRow.created_at, EventRow.job_id, EventRow.sequence)
    query = EventRow.select(*order).where(kept & (EventRow.created_at >= since))
    if origin is not None:
        query = query.where(EventRow.origin == origin)
    if place is not None:
        at, job_id, sequence = place
        later = (EventRow.job_id > job_id) | ((EventRow.job_id == job_id) & (EventRow.sequence > sequence))
        query = query.where((EventRow.created_at >= at) & ((EventRow.created_at > at) | later))
    return query.order_by(*order)


def _lock_jobs(job_ids: Sequence[str], now: Moment) -> set[str]:
    """Those of the jobs that are not about to be pruned, locked in the order of their ids: no two wait in a ring."""
    kept = JobRow.expires_at.is_null() | (JobRow.expires_at > now)
    rows = locked(JobRow.select(JobRow.id).where(JobRow.id.in_(job_ids) & kept).order_by(JobRow.id))
    return {row.id for row in rows}


def _make_pending(row: EventRow) -> bool:
    this = (EventRow.job_id == row.job_id) & (EventRow.sequence == row.sequence)
    return bool(EventRow.update(ANEW).where(this & (EventRow.status == SQL("'dead'"))).execute())


def _has_pending(job_id: str) -> bool:
    return bool(EventRow.select().where((EventRow.job_id == job_id) & (EventRow.status == SQL("'pending'"))).exists())
