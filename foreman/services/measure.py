"""Hands over what its process counted, so that any web process can tell it, and none of it ends with the process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock
from foreman.errors import StoreUnavailable

if TYPE_CHECKING:
    import threading

    from foreman.store.counters import Counters
    from foreman.tally import Tally

#: Seconds between two hand-overs: what a process that is killed takes with it, and one small commit at most. A third of
#: how often Prometheus usually looks.
HAND_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Measurer:
    """What every process runs beside its work."""

    tally: Tally
    counters: Counters

    def hand_over(self) -> None:
        """Add what was counted to what all have counted; it is kept for the next time while the database is away."""
        taken = self.tally.take()
        if not taken:
            return
        try:
            self.counters.add(taken, clock.now())
        except StoreUnavailable:
            self.tally.put_back(taken)

    def watch(self, stopping: threading.Event, every_s: float = HAND_OVER_S) -> None:
        """Hand over now and then until ``stopping`` is set. Blocks, and never raises for the database's sake."""
        while not stopping.wait(every_s):
            self.hand_over()
