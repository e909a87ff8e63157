"""Dramatiq's Redis broker with consumers that wake on a push, and with the clients and middleware foreman needs.

Redis keys are Dramatiq's (see ``dispatch.lua`` in its source) and the wake lists of ``wake.lua``, all beginning with
the namespace. Give it a Redis database of its own: bringing back a dead worker's messages runs ``KEYS``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, cast

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware
from redis.backoff import NoBackoff
from redis.retry import Retry

from foreman import clock
from foreman.queue.consumer import HEARTBEAT_S, WakingConsumer
from foreman.queue.context import LogContext
from foreman.queue.custody import Custody
from foreman.queue.outage import connection_closed
from foreman.queue.retries import Draining, PersistentRetries

_WAKE_LUA = resources.files(__package__).joinpath("wake.lua").read_bytes()
_EACH_LUA = resources.files(__package__).joinpath("each.lua").read_bytes()

#: Milliseconds without a heartbeat after which a worker is dead and its messages go back to the queue: fifteen missed
#: ones. Dramatiq's 60 s allow for clocks that differ; here all heartbeats carry the time of the Redis server.
HEARTBEAT_TIMEOUT_MS = 15_000

#: Seconds to connect, and for a reply. On one machine or network both take well under a millisecond; the two together
#: are what one caller waits when Redis stops answering.
_CONNECT_TIMEOUT_S, _REPLY_TIMEOUT_S = 0.5, 1.0

#: Seconds for a reply to a blocking command: the longest block, and as much again and more for a busy Redis.
_BLOCKED_TIMEOUT_S = HEARTBEAT_S + 2.0

#: Messages per round trip when many are enqueued at once: 100 KB of arguments, and some milliseconds of Redis.
_BATCH = 500


class WakingRedisBroker(RedisBroker):
    """What ``make_broker`` makes. ``client`` carries ordinary commands, ``blocking_client`` those that wait for a push.

    ``middleware`` is added to foreman's own. Of Dramatiq's defaults only the retries are here: ``TimeLimit`` and the
    shutdown notice are exceptions raised in a running thread, which cannot end a blocking read and may hit anywhere.
    """

    def __init__(
        self,
        *,
        client: redis.Redis,
        blocking_client: redis.Redis,
        middleware: Sequence[Middleware] = (),
        namespace: str = "foreman",
        heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS,
    ) -> None:
        #: Set while a worker of this process is stopping: its consumers fetch nothing more.
        self.draining = threading.Event()
        super().__init__(  # type: ignore[no-untyped-call]  # Dramatiq leaves its Redis broker untyped
            client=client,
            namespace=namespace,
            heartbeat_timeout=heartbeat_timeout_ms,
            middleware=[
                CurrentMessage(),
                LogContext(),
                PersistentRetries(self.draining),
                Draining(self.draining),
                *middleware,
            ],
        )
        self._blocking_client = blocking_client
        self._custodies: dict[str, Custody] = {}
        dispatch_lua = cast("bytes", self.scripts["dispatch"].script)
        waking_lua = _WAKE_LUA + dispatch_lua
        self.scripts["dispatch"] = client.register_script(waking_lua)
        self._each = client.register_script(
            b"local function dispatch(KEYS, ARGV)\n%b\nend\n%b" % (waking_lua, _EACH_LUA)
        )

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> WakingConsumer:
        """A consumer of one queue; ``timeout`` is the longest that it waits, in milliseconds. It connects by itself."""
        return WakingConsumer(self, queue_name, prefetch, timeout)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue a message, ``delay`` milliseconds from now (at most 7 days; ``None``: now).

        Raises:
            ConnectionClosed: Redis is away or refuses; the message may or may not have arrived.
        """
        try:
            return super().enqueue(message, delay=delay)
        except redis.RedisError as error:
            raise connection_closed(error) from error

    def enqueue_all(self, messages: Sequence[Message[Any]]) -> None:
        """Enqueue messages for now, ``_BATCH`` of them per round trip.

        Raises:
            ConnectionClosed: Redis is away or refuses; any number of them may have arrived.
        """
        try:
            for start in range(0, len(messages), _BATCH):
                self._enqueue_batch(messages[start : start + _BATCH])
        except redis.RedisError as error:
            raise connection_closed(error) from error

    def _enqueue_batch(self, messages: Sequence[Message[Any]]) -> None:
        unpack_size = self._max_unpack_size()  # type: ignore[no-untyped-call]  # as above
        # The order of the arguments is dispatch.lua's; the time (0) is put in by wake.lua, the queue ("") by each.lua.
        args = ["enqueue", 0, "", self.broker_id, self.heartbeat_timeout, self.dead_message_ttl, 0, unpack_size]
        for message in messages:
            message_id = clock.new_id()
            data = message.copy(options={"redis_message_id": message_id}).encode()
            args += [message.queue_name, message_id, data]
        self._each(keys=[self.namespace], args=args)

    def close(self) -> None:
        """Close the connections; a later call would open new ones."""
        self.client.close()
        self._blocking_client.close()

    def wait_for_push(self, queue_name: str, timeout_s: float) -> None:
        """Return when a message was pushed to the queue for this caller to fetch, or after ``timeout_s`` seconds.

        Raises:
            redis.RedisError: Redis is away.
        """
        wake = f"{self.namespace}:{queue_name}.wake"
        token = self._blocking_client.blpop([wake], timeout=max(timeout_s, 0.001))  # to Redis, 0 means for ever
        if token and self.draining.is_set():
            self.client.rpush(wake, "1")  # for a consumer that still fetches

    def custody(self, queue_name: str) -> Custody:
        """What this process holds of the queue; the same object every time, since it outlives a consumer."""
        return self._custodies.setdefault(queue_name, Custody())

    def put_back(self, queue_name: str, message_ids: Iterable[str]) -> None:
        """Let any worker fetch these messages again, if this process still holds them.

        Raises:
            redis.RedisError: Redis is away, and they stay with this process.
        """
        ids = list(message_ids)
        if ids:
            self.do_requeue(queue_name, *ids)
            self.custody(queue_name).release(ids)

    def put_back_all(self) -> None:
        """Let other workers have all that this process still holds, instead of when its heartbeat has run out.

        For a process that ends: a message that is still being worked on is handled twice.

        Raises:
            redis.RedisError: Redis is away.
        """
        for queue_name, custody in self._custodies.items():
            self.put_back(queue_name, custody.held() - custody.unsent().keys())

    def unacked(self, queue_name: str) -> set[str]:
        """The messages of the queue that, for Redis, this process holds.

        Raises:
            redis.RedisError: Redis is away.
        """
        return {message_id.decode() for message_id in cast("set[bytes]", self.client.smembers(self._acks(queue_name)))}

    def count_unacked(self, queue_name: str) -> int:
        """How many ``unacked`` would return.

        Raises:
            redis.RedisError: Redis is away.
        """
        return self.client.scard(self._acks(queue_name))

    def count_waiting(self, queue_name: str) -> int:
        """How many messages of the queue no worker has fetched yet, delayed ones aside.

        Raises:
            ConnectionClosed: Redis is away.
        """
        try:
            return cast("int", self.client.llen(f"{self.namespace}:{queue_name}"))
        except redis.RedisError as error:
            raise connection_closed(error) from error

    def _acks(self, queue_name: str) -> str:
        return f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"

    def _should_do_maintenance(self, command: str) -> int:
        """Every heartbeat, and no other command: Dramatiq throws dice, and a dead worker's messages wait for minutes.

        ``heartbeat`` is a command that ``dispatch.lua`` does not know: it does what precedes every command, no more.
        """
        return int(command == "heartbeat")


def make_broker(
    redis_url: str,
    *,
    middleware: Sequence[Middleware] | None = None,
    namespace: str = "foreman",
    heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS,
) -> WakingRedisBroker:
    """A broker on ``redis_url`` (``redis://``, ``rediss://`` or ``unix://``); it connects when it is first used.

    ``middleware`` is added to foreman's own.
    """
    return WakingRedisBroker(
        client=_client(redis_url, _REPLY_TIMEOUT_S),
        blocking_client=_client(redis_url, _BLOCKED_TIMEOUT_S),
        middleware=middleware or (),
        namespace=namespace,
        heartbeat_timeout_ms=heartbeat_timeout_ms,
    )


def _client(url: str, reply_timeout_s: float) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=reply_timeout_s,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        # A command that was tried again by itself might enqueue twice, and would multiply the timeouts.
        retry=Retry(NoBackoff(), 0),
        # RESP3 adds a handshake for a commercial Redis's maintenance notices to every connection.
        protocol=2,
    )
