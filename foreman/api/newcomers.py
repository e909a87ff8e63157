"""The places in line of jobs just submitted: a long line is counted now and then, and not for each that joins it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from foreman.domain.job import Job, Moment, Priority
from foreman.store.line import Line

#: Places up to here are counted for each job: that takes under 0.2 ms, and of a short line people want to know.
COUNTED = 500

#: Milliseconds for which a count of a longer line holds, and longer while somebody counts anew: at most ten counts a
#: second, of some 5 ms, one at a time, whoever submits.
FRESH_MS = 100

#: Kinds of jobs whose counts are remembered; one more makes room by forgetting all.
KINDS = 1_000


@dataclass(slots=True)
class _Count:
    at: Moment
    position: int | None
    joined: int = 0
    #: Whether somebody counts anew: until that is done the others go by this one, and do not all count at once.
    counting: bool = False


class Newcomers:
    """Where jobs stand that have just joined ``line``. Safe to share between threads."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._counts: dict[tuple[Priority, str], _Count] = {}

    def position(self, job: Job, now: Moment) -> int | None:
        """As ``Line.position``, of a job submitted at this moment.

        In a line of more than ``COUNTED`` it is that of one like it about ``FRESH_MS`` ago at most, and of those that
        this process has let in since; who has left the line since then is not counted off.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        kind = (job.priority, job.model)
        with self._lock:
            last = self._counts.get(kind)
            if last is not None and (last.counting or 0 <= now - last.at < FRESH_MS):
                last.joined += 1
                return None if last.position is None else last.position + last.joined
            if last is not None:
                last.counting = True
        count: _Count | None = None
        try:
            position = self._line.position(job, now)
            if position is None or position > COUNTED:
                count = _Count(now, position)
        finally:
            self._remember(kind, count)
        return position

    def _remember(self, kind: tuple[Priority, str], count: _Count | None) -> None:
        with self._lock:
            if count is None:
                self._counts.pop(kind, None)
                return
            if len(self._counts) >= KINDS:
                self._counts.clear()
            self._counts[kind] = count
