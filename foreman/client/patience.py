"""How much trouble in a row a call puts up with, and how long it waits before it tries again."""

from __future__ import annotations

import time
from math import inf

from foreman import clock
from foreman.client.errors import Unavailable, Unreachable
from foreman.domain.backoff import retry_delay_s

#: Seconds before the second try, and the longest wait between two unless the server asks for more. A web process that
#: is restarted is back within a second or two.
_FIRST_S, _LONGEST_S = 0.25, 8.0
#: Spread of each wait, so that clients that were refused together do not come back together.
_SPREAD = 0.2


class Patience:
    """``limit_s`` seconds of trouble from now on, and never past ``until`` (monotonic seconds)."""

    def __init__(self, limit_s: float, until: float = inf) -> None:
        self._limit_s = limit_s
        self._until = until
        self.renew()

    def renew(self) -> None:
        """Something went well: what comes is other trouble, and has all of the time again."""
        self._tries = 0
        self._deadline = min(clock.monotonic() + self._limit_s, self._until)

    def excuse(self, seconds: float) -> None:
        """So long nothing was wrong."""
        self._deadline = min(self._deadline + max(seconds, 0.0), self._until)

    @property
    def left_s(self) -> float:
        """Seconds until it is over; never less than a try can do with."""
        return max(self._deadline - clock.monotonic(), 0.001)

    def endure(self, error: Unreachable | Unavailable) -> None:
        """Wait before another try, for as long as the server asks at least.

        Raises:
            Unreachable, Unavailable: ``error``, since there is no time for another try, or no use in one.
        """
        self._tries += 1
        pause_s = retry_delay_s(self._tries, first_s=_FIRST_S, max_s=_LONGEST_S, jitter=clock.jitter(_SPREAD))
        lasting = False
        match error:
            case Unavailable():
                pause_s = max(pause_s, error.retry_after_s or 0.0)
            case Unreachable():
                lasting = error.lasting
        if lasting or clock.monotonic() + pause_s >= self._deadline:
            raise error
        time.sleep(pause_s)
