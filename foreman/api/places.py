"""How many clients may be connected for long at once, so that threads are left for all who only ask."""

from __future__ import annotations

import threading

from foreman.api.problems import NO_PLACE, HTTPProblem


class Places:
    """``count`` places for requests that last as long as their job does. Safe to share between threads."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    def take(self) -> Place:
        """Take a place.

        Raises:
            HTTPProblem: 503, there is none.
        """
        if not self._free.acquire(blocking=False):
            raise HTTPProblem(NO_PLACE, headers={"Retry-After": str(NO_PLACE.retry_after_s)})
        return Place(self._free)


class Place:
    """One of them, to be left once; leaving it again does nothing."""

    def __init__(self, free: threading.BoundedSemaphore) -> None:
        self._free: threading.BoundedSemaphore | None = free

    def leave(self) -> None:
        """Let somebody else have it."""
        free, self._free = self._free, None
        if free is not None:
            free.release()
