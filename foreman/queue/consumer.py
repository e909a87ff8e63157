"""A Redis consumer that sleeps until there is something to do, and that outlives Redis.

Dramatiq's own polls with a growing pause, so that a message waits about half a second for an idle worker. This one
blocks on the queue's wake list (``wake.lua``). It looks at the queue by itself at least once a second as well, so a
lost token costs no more than Dramatiq's pause did.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import redis
from dramatiq import Message, MessageProxy
from dramatiq.broker import Consumer
from dramatiq.common import q_name
from dramatiq.errors import DecodeError

from foreman import clock
from foreman.queue.custody import Verdict
from foreman.queue.outage import Outage, connection_closed

if TYPE_CHECKING:  # the broker makes consumers
    from foreman.queue.broker import WakingRedisBroker

_logger = logging.getLogger(__name__)

#: Seconds between signs of life, which also bring back what dead workers held: a fifteenth of the time after which a
#: worker is taken for dead (``HEARTBEAT_TIMEOUT_MS``), so that a few may be late.
HEARTBEAT_S = 1.0

#: First and longest pause, in seconds, between looks for a Redis that is away; doubled each time. What waited for Redis
#: starts within the longest.
_RECONNECT_MIN_S, _RECONNECT_MAX_S = 0.05, 1.0

#: Seconds by which a server may be late to end a block that timed out: with its default ``hz`` of 10 it looks ten times
#: a second. The rest of the wait for a delayed message is slept here, else retries would be late by that much.
_GRAIN_S = 0.11

#: Seconds between looks at whether the stopping worker still needs this consumer.
_DRAINING_PAUSE_S = 0.05


class WakingConsumer(Consumer):
    """Iterates over one queue's messages; ``None`` means look again. Other threads may only ``ack`` and ``nack``.

    At most ``prefetch`` messages are in this process at once, and each in no more than one process, unless that was
    silent for ``HEARTBEAT_TIMEOUT_MS``: then a message is handled twice.
    """

    def __init__(self, broker: WakingRedisBroker, queue_name: str, prefetch: int, timeout_ms: int) -> None:
        self.queue_name = queue_name
        self._broker = broker
        self._prefetch = prefetch
        self._idle_s = min(timeout_ms / 1000, HEARTBEAT_S)
        self._custody = broker.custody(queue_name)
        if q_name(queue_name) != queue_name:
            # A delayed message is only ever in the memory of the thread that consumes it, and that thread forgot it
            # before it made a new consumer. Disowned, it is found by `_reclaim`; kept, it would be stranded.
            self._custody.release(self._custody.held() - self._custody.unsent().keys())
        self._fetched: deque[Message[Any]] = deque()
        #: Whether the last fetch took all there was: what was pushed since has left a token on the wake list.
        self._emptied = False
        #: When the delayed messages that were handed over fall due, soonest first: a heap of moments.
        self._etas: list[int] = []
        self._heartbeat_due_s = float("-inf")
        self._outage = Outage(_logger, f"Nothing is fetched from queue {queue_name!r}")

    def __next__(self) -> MessageProxy | None:
        """The next message; or ``None``, as soon as a delayed one falls due and at the latest when the timeout is over.

        While Redis is away it does not return: the worker would forget its delayed messages. They live in its memory
        alone if Redis comes back empty.
        """
        if self._fetched:
            return self._hand_over()
        try:
            self._keep_alive()
            return self._fetch_or_wait()
        except redis.RedisError as error:
            self._wait_for_redis(error)
            return None

    def ack(self, message: MessageProxy) -> None:
        """The message is done with. Where Redis cannot be told now, it will be told when it is back."""
        self._settle(message, "ack")

    def nack(self, message: MessageProxy) -> None:
        """The message goes to the dead letters, now or when Redis is back."""
        self._settle(message, "nack")

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put fetched messages back, for any worker to take.

        Raises:
            ConnectionClosed: Redis is away; another worker gets them once this one's heartbeat has run out.
        """
        try:
            self._broker.put_back(self.queue_name, [_redis_id(message) for message in messages])
        except redis.RedisError as error:
            raise connection_closed(error) from error

    def close(self) -> None:
        """Put back what no worker has seen. The worker threads may still ``ack`` what they have.

        Raises:
            ConnectionClosed: as in ``requeue``.
        """
        unseen = [MessageProxy(message) for message in self._fetched]
        self._fetched.clear()
        # Disowned first: what cannot be put back now is found by the next consumer's `_reclaim`.
        self._custody.release(_redis_id(message) for message in unseen)
        self.requeue(unseen)

    def _hand_over(self) -> MessageProxy:
        message = self._fetched.popleft()
        eta = message.options.get("eta")
        if isinstance(eta, int | float):
            heapq.heappush(self._etas, int(eta))
        return MessageProxy(message)

    def _fetch_or_wait(self) -> MessageProxy | None:
        if self._broker.draining.is_set():
            time.sleep(_DRAINING_PAUSE_S)
            return None
        due_in_s = self._due_in_s()
        room = self._prefetch - self._custody.count()
        if room <= 0:
            self._custody.wait_for_room(self._prefetch, min(due_in_s, self._idle_s))
            return None
        if not self._emptied:
            self._fetch(room)
            if self._fetched:
                return self._hand_over()
        self._emptied = False
        if due_in_s > _GRAIN_S:
            self._broker.wait_for_push(self.queue_name, min(due_in_s - _GRAIN_S, self._idle_s))
        else:
            self._broker.draining.wait(due_in_s)
        return None

    def _due_in_s(self) -> float:
        """Seconds until the next delayed message is due, 0 if one is due now."""
        now = clock.now()
        due = False
        while self._etas and self._etas[0] <= now:
            heapq.heappop(self._etas)  # the worker takes all that are due, once it gets a `None`
            due = True
        if due:
            return 0
        return (self._etas[0] - now) / 1000 if self._etas else float("inf")

    def _fetch(self, room: int) -> None:
        spoilt = False
        found = self._broker.do_fetch(self.queue_name, room)
        self._emptied = len(found) < room
        for data in found:
            if data is None:  # acknowledged while its id was still in the list: it came twice
                continue
            try:
                self._fetched.append(Message.decode(data))
            except DecodeError:
                _logger.exception("Queue %r holds what is not a message: %.200r", self.queue_name, data)
                spoilt = True
        self._custody.take(_redis_id(message) for message in self._fetched)
        if spoilt:
            self._bury_strays()

    def _keep_alive(self) -> None:
        """Once a second: give a sign of life, and put right what a lost connection left behind."""
        now_s = clock.monotonic()
        if now_s < self._heartbeat_due_s:
            return
        self._broker.do_heartbeat(self.queue_name)
        for message_id, verdict in self._custody.unsent().items():
            self._tell(message_id, verdict)
        self._reclaim()
        self._heartbeat_due_s = now_s + HEARTBEAT_S

    def _reclaim(self) -> None:
        """Put back what Redis believes this process has, and it has not: the reply to a fetch was lost."""
        if self._broker.count_unacked(self.queue_name) == self._custody.count():
            return
        strays = self._broker.unacked(self.queue_name) - self._custody.held()
        if strays:
            _logger.warning("Put back %d message(s) of queue %r that never arrived", len(strays), self.queue_name)
            self._broker.put_back(self.queue_name, list(strays))

    def _bury_strays(self) -> None:
        """Move what was just fetched and cannot be decoded, so has no known id, to the dead letters."""
        for message_id in self._broker.unacked(self.queue_name) - self._custody.held():
            self._broker.do_nack(self.queue_name, message_id)

    def _wait_for_redis(self, error: redis.RedisError) -> None:
        self._outage.began(error)
        pause_s = _RECONNECT_MIN_S
        while not self._broker.draining.wait(pause_s):
            self._heartbeat_due_s = float("-inf")
            try:
                self._keep_alive()
            except redis.RedisError:
                pause_s = min(pause_s * 2, _RECONNECT_MAX_S)
            else:
                self._outage.ended()
                return
        time.sleep(_DRAINING_PAUSE_S)

    def _settle(self, message: MessageProxy, verdict: Verdict) -> None:
        message_id = _redis_id(message)
        try:
            self._tell(message_id, verdict)
        except redis.RedisError:
            # Dramatiq would hold the worker's thread here until Redis is back.
            self._custody.postpone(message_id, verdict)

    def _tell(self, message_id: str, verdict: Verdict) -> None:
        if verdict == "ack":
            self._broker.do_ack(self.queue_name, message_id)
        else:
            self._broker.do_nack(self.queue_name, message_id)
        self._custody.release([message_id])


def _redis_id(message: MessageProxy | Message[Any]) -> str:
    return str(message.options["redis_message_id"])
