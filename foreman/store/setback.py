"""A clock that is set back: what was to happen soon, by the clock as it was, must not wait until it has caught up.

A moment in a row is a promise of a wait. When the clock goes back by an hour, each promise would be kept an hour late:
due events and ready jobs would lie there, and a dead worker's lease would last. So the sweep keeps the latest moment it
has seen, and moves what lies ahead back by as much as the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman.store.database import locked, write
from foreman.store.models import ArtifactRow, ClockRow, EventRow, JobRow, OriginRow, UpstreamRow

if TYPE_CHECKING:
    from foreman.domain.job import Moment

#: Milliseconds. Less is no setback: it costs no more than itself, and clocks of several machines may be so far apart.
TOLERANCE_MS = 10_000

#: Milliseconds between two writes of the latest moment: an idle foreman need not commit with every sweep.
STRIDE_MS = 5_000

#: The one row there is.
_ID = 1


@dataclass(frozen=True, slots=True)
class Setback:
    """The clock's row, and every column with a moment that somebody waits for."""

    def notice(self, now: Moment) -> int:
        """Keep ``now``; if it lies before what was kept, move what lies ahead. Returns milliseconds, 0 for no setback.

        Leases are moved only if they lie further ahead than half of it: those written since the clock was set are
        right, and their holders are at work.
        """
        with write():
            row = locked(ClockRow.select()).first()
            if row is None:
                ClockRow.insert(id=_ID, seen_at=now).on_conflict_ignore().execute()
                return 0
            by_ms: int = row.seen_at - now
            if by_ms > TOLERANCE_MS:
                _move_back(now, by_ms)
            elif by_ms > -STRIDE_MS:
                return 0
            ClockRow.update(seen_at=now).where(ClockRow.id == _ID).execute()
            return max(0, by_ms)


def _move_back(now: Moment, by_ms: int) -> None:
    # An artifact's is since when its completion has waited to be stored.
    waits = (
        JobRow.ready_at,
        JobRow.start_by,
        EventRow.next_attempt_at,
        ArtifactRow.created_at,
        UpstreamRow.held_until,
        OriginRow.opened_at,
        OriginRow.open_until,
    )
    leases = (JobRow.lease_until, EventRow.lease_until)
    for column, after in (*((each, now) for each in waits), *((each, now + by_ms // 2) for each in leases)):
        column.model.update({column: column - by_ms}).where(column > after).execute()
