"""When a webhook origin is left alone: a circuit that opens on failures, lets single tries through, and closes.

It is for crowds: while few events wait for an origin, the waits of their own schedules spare it, and a circuit would
only make them late.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from foreman.domain.backoff import retry_delay_s
from foreman.domain.delivery import Attempt, TryError

if TYPE_CHECKING:
    from foreman.domain.job import Moment

#: What a proxy answers when what is behind it is away (RFC 9110 section 15.6). Any other status, 500 and 429 included,
#: comes from somebody who is there: one endpoint's fault is not the origin's.
_AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})

#: Why nobody was called.
_NOBODY_CALLED = frozenset({TryError.ADDRESS_REFUSED, TryError.TOO_MANY_FILES})


class Circuit(StrEnum):
    """Whether an origin is sent to; a metric's label too."""

    #: As much at once as its cap allows.
    CLOSED = "closed"
    #: Not at all.
    OPEN = "open"
    #: One try at a time: the next to end decides.
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """When a circuit opens, and for how long: ``webhook.circuit_*``."""

    #: Tries that must have failed in a row.
    failures: int
    #: Events that must be waiting for the origin.
    waiting: int
    #: Seconds for which it opens first; doubled each time that a probe fails, up to ``max_s``.
    open_s: float
    open_max_s: float


@dataclass(frozen=True, slots=True)
class Health:
    """What is remembered of an origin whose last try failed."""

    #: Tries that failed in a row.
    failures: int = 0
    #: How often its circuit has opened since it was last closed.
    openings: int = 0
    #: Since when the circuit has not been closed; None if it is.
    opened_at: Moment | None = None
    #: Until when nothing is sent; None if the circuit is closed.
    open_until: Moment | None = None

    def circuit(self, now: Moment) -> Circuit:
        """The circuit's state."""
        if self.open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.open_until else Circuit.HALF_OPEN

    def most_at_once(self, cap: int, now: Moment) -> int:
        """How many tries the origin may hold; ``cap`` while nothing is wrong."""
        match self.circuit(now):
            case Circuit.CLOSED:
                return cap
            case Circuit.HALF_OPEN:
                return 1
            case Circuit.OPEN:
                return 0


#: Of an origin of which nothing bad is known.
WELL = Health()


def is_down(attempt: Attempt) -> bool | None:
    """Whether a try shows that the whole origin is away; None if it shows nothing, since nobody was called."""
    if attempt.error in _NOBODY_CALLED:
        return None
    return attempt.status is None or attempt.status in _AWAY


def after_failure(health: Health, *, waiting: int, policy: CircuitPolicy, jitter: float, now: Moment) -> Health:
    """The health after one more try that found the origin down, with ``waiting`` events left for it.

    ``jitter`` is a factor around 1 on the time that the circuit stays open.
    """
    failures = health.failures + 1
    if health.circuit(now) is Circuit.OPEN:
        # A try that was under way when it opened: it knows no more than those that opened it.
        return Health(failures, health.openings, health.opened_at, health.open_until)
    if failures < policy.failures or waiting < policy.waiting:
        return Health(failures)
    openings = health.openings + 1
    open_s = retry_delay_s(openings, first_s=policy.open_s, max_s=policy.open_max_s, jitter=jitter)
    opened_at = now if health.opened_at is None else health.opened_at
    return Health(failures, openings, opened_at, now + round(open_s * 1000))
