from __future__ import annotations

import threading

from foreman.errors import StoreUnavailable
from foreman.services.timepiece import Timepiece
from foreman.store.setback import Setback


def test_a_database_that_is_away_does_not_end_the_looking() -> None:
    """The next look comes all the same."""
    stopping = threading.Event()
    looks: list[int] = []

    class Away(Setback):
        def notice(self, now: int) -> int:
            looks.append(now)
            if len(looks) == 3:
                stopping.set()
            raise StoreUnavailable("away")

    Timepiece(Away()).watch(stopping, every_s=0.001)
    assert len(looks) == 3
