"""The one reader of the clock and the dice; everything else takes moments, jitter and ids as arguments."""

from __future__ import annotations

import random
import secrets
import time

from ulid import ULIDGenerator
from ulid.constants import RANDOMNESS_LEN

from foreman.domain.job import Moment

#: Characters of a ULID that hold its millisecond; the rest is chance.
_ULID_TIME = 10

#: Its chance is no secret's. What the system has gives up the interpreter while the generator is locked, and busy
#: threads stood in line for it: a fifth of the time in which they did anything (measured).
_ids = ULIDGenerator(randomness=lambda _at: random.randbytes(RANDOMNESS_LEN))  # noqa: S311 - it guards nothing


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


def new_id(at: Moment | None = None) -> str:
    """A ULID: 26 characters of upper-case Crockford base32 that sort by the millisecond ``at``, by default this one.

    Two of one millisecond sort by chance, and those of one process as they were made. Format: github.com/ulid/spec.
    """
    return str(_ids.generate(now() if at is None else at))


def first_id(at: Moment) -> str:
    """What sorts before every id of the millisecond ``at`` or later, and behind every earlier one."""
    return new_id(max(at, 0))[:_ULID_TIME]


def new_secret() -> str:
    """32 bytes that nobody can guess, as 43 characters of base64url."""
    return secrets.token_urlsafe(32)
