"""How many of a process's senders one origin may hold: never so many that others find none.

An origin may hold one more as long as it holds fewer than are free, which is how switches share a buffer among their
ports: A. K. Choudhury, E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM
Transactions on Networking 6(2), 1998, with alpha = 1. A sender cannot be taken back before its try ends, so the last
quarter goes only to origins that hold none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from foreman.domain.delivery import Attempt

#: Milliseconds. A receiver that answers within this is prompt: what is sent to it holds its sender no longer than the
#: second in which a healthy receiver is to have its events.
PROMPT_MS = 1000

#: One in so many senders is for origins that hold none: 8 of 32 by default, so that eight origins that go silent at
#: once, in whatever order they are sent to, leave two senders free.
_RESERVED_ONE_IN = 4


class Pace(Enum):
    """What the last try says of how long the next one will hold its sender."""

    #: There was no try, or no answer: up to ``webhook.timeout_s``.
    UNKNOWN = auto()
    #: Answered, whatever the answer, but late.
    SLOW = auto()
    #: Answered, whatever the answer, within ``PROMPT_MS``.
    PROMPT = auto()


def pace_after(attempt: Attempt) -> Pace:
    """The pace of an origin after a try."""
    if attempt.status is None:
        return Pace.UNKNOWN
    return Pace.PROMPT if attempt.duration_ms <= PROMPT_MS else Pace.SLOW


@dataclass(frozen=True, slots=True)
class Share:
    """A number of senders, how many are held, and how many of these by the origin that asks."""

    senders: int
    held: int
    held_by_origin: int

    def has_room(self, pace: Pace) -> bool:
        """Whether the origin may hold one more; one of unknown pace may hold one."""
        free = self.senders - self.held
        if self.held_by_origin == 0:
            return free > 0
        return pace is not Pace.UNKNOWN and self.held_by_origin < free - self.senders // _RESERVED_ONE_IN


def doubtful_senders(senders: int, share: float) -> int:
    """How many of ``senders`` doubtful tries may hold; ``share`` is a fraction, and one is the least."""
    return max(1, int(senders * share))
