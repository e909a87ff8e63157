"""What the queue's tests share: the engines they run on, a worker in a thread, and a record of what was handled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dramatiq
import fakeredis
import redis

from foreman.queue.broker import HEARTBEAT_TIMEOUT_MS, WakingRedisBroker, make_broker
from foreman.queue.messages import Address, Message
from foreman.queue.worker import run_worker
from tests.valkey import ValkeyServer

#: Seconds that a test waits for what should happen in milliseconds, on a machine that may be busy.
PATIENCE_S = 60.0

#: Where the tests' messages go.
WORK = Address("work", "work")


def work(*args: str) -> Message:
    """A message for the actor that ``declare`` declares."""
    return Message(WORK, args)


@dataclass(frozen=True)
class Engine:
    """An empty server; ``broker`` makes one broker on it per call, as each process has one of its own."""

    client: redis.Redis
    make: Callable[[int], WakingRedisBroker]

    def broker(self, *, heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS) -> WakingRedisBroker:
        """A broker with connections of its own."""
        return self.make(heartbeat_timeout_ms)


def valkey_engine(server: ValkeyServer) -> Engine:
    """A real server, emptied first."""
    client = server.client()
    client.flushall()
    return Engine(client, lambda timeout_ms: make_broker(server.url, heartbeat_timeout_ms=timeout_ms))


def fake_engine() -> Engine:
    """A server in this process; it runs the Lua scripts too, through ``lupa``."""
    server = fakeredis.FakeServer()

    def make(heartbeat_timeout_ms: int) -> WakingRedisBroker:
        return WakingRedisBroker(
            client=fakeredis.FakeRedis(server=server),
            blocking_client=fakeredis.FakeRedis(server=server),
            heartbeat_timeout_ms=heartbeat_timeout_ms,
        )

    return Engine(fakeredis.FakeRedis(server=server), make)


class Handled:
    """The messages that actors handled, in order; safe to share between threads."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._changed = threading.Condition()

    def add(self, item: str = "") -> None:
        """An actor handled ``item``."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        """All that was handled, once that is ``count`` items or more; fails after ``PATIENCE_S``."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._items) >= count, PATIENCE_S), f"only {self._items}"
            return list(self._items)

    def now(self) -> list[str]:
        """All that was handled so far."""
        with self._changed:
            return list(self._items)


def declare(broker: WakingRedisBroker, function: Callable[..., None], **options: Any) -> None:
    """Make ``function`` the actor on ``broker`` that handles ``work`` messages."""
    dramatiq.actor(broker=broker, queue_name=WORK.queue, actor_name=WORK.actor, **options)(function)


@contextmanager
def working(broker: WakingRedisBroker, *, threads: int = 2, grace_s: float = 5) -> Iterator[Callable[[], None]]:
    """A worker process's ``run_worker``, in a thread; yields what stops it and waits for its end."""
    stop = threading.Event()
    runner = threading.Thread(target=run_worker, args=(broker, {WORK.queue}, threads, stop, grace_s))

    def end() -> None:
        stop.set()
        runner.join(grace_s + PATIENCE_S)
        assert not runner.is_alive(), "the worker did not stop"

    runner.start()
    try:
        yield end
    finally:
        end()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; fails after ``PATIENCE_S``."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    assert condition()
