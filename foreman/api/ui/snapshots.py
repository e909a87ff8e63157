"""What many look at is looked up once: viewers of one thing share what one of them was shown a moment ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from foreman.clock import monotonic

T = TypeVar("T")

#: Seconds for which a snapshot is shown. A page asks every two; with this, fifty viewers cost what one costs.
LIFE_S = 1.0

#: It is shown for so many times as long as the look took, if that is longer. Submissions beside a look wait for the
#: interpreter again and again; so they are one in fifty. Measured on a busy machine with fifty viewers, the 95th
#: percentile of a submission: 25 ms without viewers, 40 ms with a look every second, and no more than without by this.
REST = 50

#: Snapshots kept: one for each filter and key that is being looked at.
KEPT = 200


class Snapshots(Generic[T]):
    """Safe to share between threads. Nobody waits for another's look: one that has an older snapshot shows that."""

    def __init__(self, life_s: float = LIFE_S, *, now_s: Callable[[], float] = monotonic) -> None:
        self._life_s = life_s
        self._now_s = now_s
        self._lock = threading.Lock()
        #: Until when each is shown, and what it is.
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._looking: set[Hashable] = set()

    def get(self, what: Hashable, look: Callable[[], T]) -> T:
        """What ``look`` returned for ``what`` within the last moment, or returns now."""
        with self._lock:
            found = self._kept.get(what)
            if found is not None and (what in self._looking or self._now_s() < found[0]):
                return found[1]
            self._looking.add(what)
        try:
            return self.anew(what, look)
        finally:
            with self._lock:
                self._looking.discard(what)

    def anew(self, what: Hashable, look: Callable[[], T]) -> T:
        """What ``look`` returns now, for whoever has just changed it."""
        began_s, seen = self._now_s(), look()
        ended_s = self._now_s()
        with self._lock:
            self._kept[what] = max(began_s + self._life_s, ended_s + REST * (ended_s - began_s)), seen
            self._kept.move_to_end(what)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return seen
