"""Whether the queue has room for one more, without counting it each time: a long queue costs a count of all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from foreman.domain.job import Moment

#: Of the places that a count found free, one in so many may be filled before the next count. So up to as many processes
#: that submit at once stay within the bound; and close to it, or where it is small, each submission counts.
SHARE = 20

#: Milliseconds for which a count holds at most. Others submit too: at 1,000 a second, a count finds a thousand more.
FRESH_MS = 1_000


class Room:
    """What this process knows of the room in a queue of at most ``limit``. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._places = 0
        self._counted_at: Moment = 0

    def take(self, queued: Callable[[], int], now: Moment) -> bool:
        """Whether fewer than the limit are queued, as ``queued`` counts them; one more is, after this."""
        with self._lock:
            if self._places > 0 and 0 <= now - self._counted_at < FRESH_MS:
                self._places -= 1
                return True
        free = self.limit - queued()
        with self._lock:
            self._places = free // SHARE - 1
            self._counted_at = now
        return free > 0
