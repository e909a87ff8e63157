"""The clock process: sends each periodic message once per interval, however many clock processes run.

``$namespace:tick:$name:$slot``
    A string: some clock has taken this slot, the number of whole intervals since the epoch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

from foreman import clock
from foreman.domain.job import Moment
from foreman.queue.broker import WakingRedisBroker
from foreman.queue.messages import Message, Messenger
from foreman.queue.outage import Outage

_logger = logging.getLogger(__name__)

#: Seconds that a taken slot is remembered beyond its interval: how far the clocks of two machines may be apart before
#: both send the same slot.
_SKEW_S = 120

#: Periodic messages that may wait for a worker. Each repeats what the one before it would have done, so that a few are
#: as good as many; where no worker is, or each message takes longer than its interval, they would fill Redis.
BACKLOG = 20

#: Seconds until a slot is tried again that Redis was away for.
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A message to send every ``interval_s`` seconds; ``name`` is unique and stays the same from release to release."""

    name: str
    interval_s: float
    message: Message

    def slot(self, now: Moment) -> int:
        """Which interval ``now`` lies in."""
        return now // self._interval_ms

    def next_at(self, now: Moment) -> Moment:
        """When the next interval begins."""
        return (self.slot(now) + 1) * self._interval_ms

    @property
    def _interval_ms(self) -> int:
        return max(1, round(self.interval_s * 1000))


def run(
    broker: WakingRedisBroker,
    ticks: Sequence[Tick],
    stop: threading.Event,
    *,
    now: Callable[[], Moment] = clock.now,
) -> None:
    """Send each tick's message at the start of each of its intervals until ``stop`` is set. Blocks, and never raises.

    At most once per interval over all clocks. An interval that Redis was away for altogether is not made up for, nor
    one in which Redis died between taking the slot and taking the message, nor one at whose start ``BACKLOG`` waited.
    """
    clockwork = _Clockwork(broker)
    while not stop.is_set():
        sent = [clockwork.fire(tick, now()) for tick in ticks]
        moment = now()
        until_next_s = min(tick.next_at(moment) - moment for tick in ticks) / 1000
        stop.wait(until_next_s if all(sent) else min(until_next_s, _RETRY_S))


class _Clockwork:
    """Remembers which slots are dealt with, so that each is asked for once."""

    def __init__(self, broker: WakingRedisBroker) -> None:
        self._broker = broker
        self._messenger = Messenger(broker)
        self._done: dict[str, int] = {}
        self._outage = Outage(_logger, "The clock stands still")

    def fire(self, tick: Tick, now: Moment) -> bool:
        """Send the tick's message unless this slot is dealt with. ``False``: Redis is away."""
        slot = tick.slot(now)
        if self._done.get(tick.name) == slot:
            return True
        try:
            taken = self._take(tick, slot)
        except redis.RedisError as error:
            self._outage.began(error)
            return False
        self._outage.ended()
        self._done[tick.name] = slot
        if taken and self._messenger.room(tick.message.address, BACKLOG) and not self._messenger.send(tick.message):
            _logger.warning("Tick %r of slot %d is lost: Redis went away", tick.name, slot)
        return True

    def _take(self, tick: Tick, slot: int) -> bool:
        key = f"{self._broker.namespace}:tick:{tick.name}:{slot}"
        return bool(self._broker.client.set(key, 1, nx=True, ex=round(tick.interval_s + _SKEW_S)))
