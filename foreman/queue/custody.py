"""Which messages of a queue this process has fetched and still answers for, as Redis calls them.

Redis keeps the same list (``$namespace:__acks__.$worker_id.$queue``). Where the two differ, a reply was lost: a message
that only Redis lists was fetched and never arrived, and nobody else would look for it while this process lives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

#: How a message ends: done with, or moved to the dead letters.
Verdict = Literal["ack", "nack"]


class Custody:
    """One queue's part; every method may be called from any thread. Ids are Dramatiq's ``redis_message_id``."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._unsent: dict[str, Verdict] = {}
        self._released = threading.Condition()

    def take(self, message_ids: Iterable[str]) -> None:
        """These were fetched."""
        with self._released:
            self._held.update(message_ids)

    def release(self, message_ids: Iterable[str]) -> None:
        """Redis was told of these, one way or the other."""
        with self._released:
            for message_id in message_ids:
                self._held.discard(message_id)
                self._unsent.pop(message_id, None)
            self._released.notify_all()

    def postpone(self, message_id: str, verdict: Verdict) -> None:
        """The message is done with, and Redis could not be told: it is held until ``release``."""
        with self._released:
            self._unsent[message_id] = verdict

    def unsent(self) -> dict[str, Verdict]:
        """What Redis has yet to be told."""
        with self._released:
            return dict(self._unsent)

    def count(self) -> int:
        """How many messages are held."""
        with self._released:
            return len(self._held)

    def held(self) -> frozenset[str]:
        """The messages that are held."""
        with self._released:
            return frozenset(self._held)

    def wait_for_room(self, limit: int, timeout_s: float) -> None:
        """Return once fewer than ``limit`` are held, or ``timeout_s`` seconds have passed."""
        with self._released:
            self._released.wait_for(lambda: len(self._held) < limit, timeout_s)
