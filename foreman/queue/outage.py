"""What a failing Redis is called: one error for Dramatiq, and two lines in the log however many calls fail."""

from __future__ import annotations

import logging
import threading

import redis
from dramatiq.errors import ConnectionClosed

from foreman import clock


def connection_closed(error: redis.RedisError) -> ConnectionClosed:
    """The error by which Dramatiq knows that its server is away.

    Every Redis error counts: a full disk or memory, a failover and a slow reply (which redis-py keeps apart from a
    broken connection) pass like an outage does, and an error of another class can end Dramatiq's threads for good.
    """
    return ConnectionClosed(error)  # type: ignore[no-untyped-call]  # Dramatiq's errors are untyped


class Outage:
    """The state of one view of Redis; safe to share between threads. ``consequence`` is a sentence for the log."""

    def __init__(self, logger: logging.Logger, consequence: str) -> None:
        self._logger = logger
        self._consequence = consequence
        self._lock = threading.Lock()
        self._since_s: float | None = None

    @property
    def on(self) -> bool:
        """Whether the last thing heard of Redis was a failure."""
        return self._since_s is not None

    def began(self, error: BaseException) -> None:
        """A call failed with ``error``, whose text is logged: it names the host and never a password."""
        with self._lock:
            if self.on:
                return
            self._since_s = clock.monotonic()
        self._logger.warning("Redis is away: %s. %s.", error, self._consequence)

    def ended(self) -> None:
        """A call succeeded."""
        if not self.on:  # the common case takes no lock
            return
        with self._lock:
            since_s, self._since_s = self._since_s, None
        if since_s is not None:
            self._logger.warning("Redis is back after %.1f s.", clock.monotonic() - since_s)
