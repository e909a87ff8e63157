"""A clock that is set back: what was to happen soon, by the clock as it was, must not wait until it has caught up.

A moment in a row is a promise of a wait. When the clock goes back by an hour, each promise would be kept an hour late:
due events and ready jobs would lie there, and a dead worker's lease would last. So the latest moment that was seen is
kept, and when the clock lies behind it, what lies ahead is moved back by as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from foreman.store.database import is_postgres, locked, read, write
from foreman.store.models import ArtifactRow, ClockRow, EventRow, JobRow, OriginRow, UpstreamRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreman.domain.job import Moment

#: Milliseconds. Less is no setback: it costs no more than itself, and clocks of several machines may be so far apart.
TOLERANCE_MS = 10_000

#: Milliseconds between two writes of the latest moment: an idle foreman need not commit with every look.
STRIDE_MS = 5_000

#: Milliseconds between reading the clock and committing what came of it, at most: twice what a connection to the
#: database, a lock and a server that is silent may take together. What is committed that late after a setback is moved.
IN_FLIGHT_MS = 60_000

#: The one row there is.
_ID = 1

#: Every moment that somebody waits for, the tables in the order in which all others lock their rows. An artifact's is
#: since when its completion has waited to be stored.
_WAITS: dict[Any, tuple[Any, ...]] = {
    UpstreamRow: (UpstreamRow.held_until,),
    JobRow: (JobRow.ready_at, JobRow.start_by, JobRow.lease_until),
    EventRow: (EventRow.next_attempt_at, EventRow.lease_until),
    ArtifactRow: (ArtifactRow.created_at,),
    OriginRow: (OriginRow.opened_at, OriginRow.open_until),
}
_LEASES = frozenset({JobRow.lease_until, EventRow.lease_until})


@dataclass(frozen=True, slots=True)
class Setback:
    """The clock's row, and every column with a moment that somebody waits for."""

    def notice(self, now: Moment) -> int:
        """Keep ``now``; if it lies before what was kept, move what lies ahead. Returns milliseconds, 0 for no setback.

        For a minute after a setback this also moves what is committed by those who read the clock before it.
        """
        with read():
            row = _row()
        if row is not None and not _is_news(row, now):
            return 0
        with write():
            row = locked(ClockRow.select()).first()
            if row is None:
                ClockRow.insert(id=_ID, seen_at=now).on_conflict_ignore().execute()
                return 0
            by_ms: int = row.seen_at - now
            if by_ms > TOLERANCE_MS:
                _move_back(now, by_ms)
                _keep(seen_at=now, set_back_at=now, set_back_by_ms=by_ms)
                return by_ms
            if _in_flight(row, now):
                _move_stragglers(row.set_back_at, row.set_back_by_ms)
            if by_ms <= -STRIDE_MS:
                _keep(seen_at=now)
            return 0


def seen_at() -> Moment | None:
    """The latest moment that a sweep has seen, up to ``STRIDE_MS`` behind; ``None``: there was none.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with read():
        row = _row()
    return None if row is None else int(row.seen_at)


def _row() -> Any:  # noqa: ANN401  (peewee's rows are untyped)
    return ClockRow.select().first()


def _is_news(row: Any, now: Moment) -> bool:  # noqa: ANN401  (as above)
    return not -STRIDE_MS < row.seen_at - now <= TOLERANCE_MS or _in_flight(row, now)


def _in_flight(row: Any, now: Moment) -> bool:  # noqa: ANN401  (as above)
    """Whether somebody may still commit by the clock as it was, and by enough that it matters."""
    if row.set_back_at is None or row.set_back_by_ms <= 2 * IN_FLIGHT_MS:
        return False
    return bool(row.set_back_at <= now < row.set_back_at + IN_FLIGHT_MS)


def _keep(**columns: Moment) -> None:
    ClockRow.update(columns).where(ClockRow.id == _ID).execute()


def _move_back(now: Moment, by_ms: int) -> None:
    """All that lies ahead; of the leases those further ahead than half of it: the rest were written since."""
    _move(lambda column: column > (now + by_ms // 2 if column in _LEASES else now), by_ms)


def _move_stragglers(at: Moment, by_ms: int) -> None:
    """What is due about when it was set back, by the clock as it was: so far ahead, by chance, lies hardly a wait."""
    first, last = at + by_ms - IN_FLIGHT_MS, at + by_ms + IN_FLIGHT_MS
    _move(lambda column: column.between(first, last), by_ms)


def _move(is_moved: Callable[[Any], Any], by_ms: int) -> None:
    """Move back the moments of which ``is_moved``, a condition on their column, holds."""
    for model, columns in _WAITS.items():
        _lock(model, reduce(or_, [is_moved(each) for each in columns]))
        for each in columns:
            model.update({each: each - by_ms}).where(is_moved(each)).execute()


def _lock(model: Any, moved: Any) -> None:  # noqa: ANN401  (as above)
    """Lock the rows in the order of their keys, as whoever else locks many does: no two wait in a ring."""
    if is_postgres():
        key = model._meta.get_primary_keys()  # noqa: SLF001  peewee documents it
        list(locked(model.select(*key).where(moved).order_by(*key)).tuples())
