"""The one reader of the clock and the dice; everything else takes moments, jitter and ids as arguments."""

from __future__ import annotations

import random
import time

from ulid import ULID

from foreman.domain.job import Moment


def now() -> Moment:
    """The wall clock: milliseconds since the epoch. It may step; measure durations with ``monotonic``."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds since an arbitrary start, never stepping back; only differences mean something, within one process."""
    return time.monotonic()


def jitter(spread: float) -> float:
    """A factor between ``1 - spread`` and ``1 + spread``, evenly spread; ``spread`` 0 to 1.

    It keeps what failed together from being retried together.
    """
    return random.uniform(1 - spread, 1 + spread)  # noqa: S311 - spreads load, guards nothing


def new_id() -> str:
    """A ULID: 26 characters of upper-case Crockford base32 that sort by the millisecond they were made in.

    Two made within one millisecond sort by chance. Format: github.com/ulid/spec.
    """
    return str(ULID())
