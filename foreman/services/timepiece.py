"""Each process looks at the shared clock once in a while, so that a setback is noticed whoever is alive to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.errors import StoreUnavailable

if TYPE_CHECKING:
    import threading

    from foreman.store.setback import Setback

log = logs.get_logger(__name__)

#: Seconds between two looks: a clock that is wrong for less than that may go unnoticed. A look is one read.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Timepiece:
    """What every worker process runs beside its work."""

    setback: Setback

    def look(self) -> None:
        """Have what lies ahead moved, if the clock was set back.

        Raises:
            StoreUnavailable: nothing was moved.
        """
        by_ms = self.setback.notice(clock.now())
        if by_ms:
            log.warning("the clock was set back", by_s=by_ms / 1000)

    def watch(self, stopping: threading.Event, every_s: float = LOOK_S) -> None:
        """Look until ``stopping`` is set. Blocks, and never raises for the database's sake."""
        while not stopping.wait(every_s):
            try:
                self.look()
            except StoreUnavailable:
                continue  # whoever works says so
