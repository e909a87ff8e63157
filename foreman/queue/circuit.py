"""How those who must not wait for Redis leave it alone for a second after it failed, and find out when it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from foreman import clock
from foreman.queue.outage import Outage

#: Seconds during which nothing is tried after Redis failed. Without it every submit during an outage waits for the
#: connect timeout; longer, and the jobs of the second after Redis is back wait for a sweep.
_PAUSE_S = 1.0


class Circuit:
    """One sender's view of Redis: a call that fails with one of ``errors`` makes those of the next second fail at once.

    An outage so costs one caller a second the timeout, and all others nothing. Safe to share between threads and to
    create before a fork.
    """

    def __init__(
        self, outage: Outage, *errors: type[Exception], monotonic: Callable[[], float] = clock.monotonic
    ) -> None:
        self._outage = outage
        self._errors = errors
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._paused_until_s = float("-inf")

    @property
    def broken(self) -> bool:
        """Whether the last call failed: most of the next ones fail at once, and one of them may take long."""
        return self._outage.on

    def attempt(self, call: Callable[[], object]) -> bool:
        """Whether ``call()`` was made and did not fail; what failed may have had its effect all the same."""
        if not self._admit():
            return False
        try:
            call()
        except self._errors as error:
            self._outage.began(error)
            self._pause()
            return False
        self._outage.ended()
        return True

    def _admit(self) -> bool:
        """Whether to try. During an outage one caller per pause is let in, to find out whether it is over."""
        if not self._outage.on:
            return True
        with self._lock:
            if self._monotonic() < self._paused_until_s:
                return False
            self._paused_until_s = self._monotonic() + _PAUSE_S
            return True

    def _pause(self) -> None:
        with self._lock:
            self._paused_until_s = self._monotonic() + _PAUSE_S
