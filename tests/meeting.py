"""Submissions that meet: none is committed before all of them wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foreman.store.arrivals import _ROUNDS
from foreman.store.database import is_postgres, write
from tests.stores import PATIENCE_S, wait_until


@contextmanager
def meeting(count: int) -> Iterator[None]:
    """Keep the turn to write until all of ``count`` submissions in the block wait: the first, and behind it the others.

    On PostgreSQL nobody waits for it, and they just begin at once.
    """
    if is_postgres():
        yield
        return
    released = threading.Event()

    def hold() -> None:
        with write():
            released.set()
            wait_until(lambda: len(_ROUNDS._line) >= count - 1)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert released.wait(PATIENCE_S)
    yield
    holder.join(PATIENCE_S)
