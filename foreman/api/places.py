"""How many clients may be connected for long at once, so that threads are left for all who only ask."""

from __future__ import annotations

import threading
from typing import Self

from foreman.api.problems import NO_PLACE, HTTPProblem, Kind


class Places:
    """``count`` places for requests that last; who finds none is told ``full``. Safe to share between threads."""

    def __init__(self, count: int, full: Kind = NO_PLACE) -> None:
        self._full = full
        self._free = threading.BoundedSemaphore(count)

    def take(self) -> Place:
        """Take a place.

        Raises:
            HTTPProblem: 503, there is none.
        """
        if not self._free.acquire(blocking=False):
            raise HTTPProblem(self._full, headers={"Retry-After": str(self._full.retry_after_s)})
        return Place(self._free)


class Place:
    """One of them, to be left once; leaving it again does nothing."""

    def __init__(self, free: threading.BoundedSemaphore) -> None:
        self._free: threading.BoundedSemaphore | None = free

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let somebody else have it."""
        free, self._free = self._free, None
        if free is not None:
            free.release()
