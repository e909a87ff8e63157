"""How long a message waits for an idle worker: foreman's broker beside a plain Dramatiq one, on one Valkey.

Run as ``python -m tests.bench.latency [messages]`` from the repository's root. Prints milliseconds from just before the
send to the first line of the actor.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dramatiq
from dramatiq import Broker, Worker
from dramatiq.brokers.redis import RedisBroker

from foreman.queue.broker import make_broker
from foreman.queue.worker import run_worker
from tests.valkey import ValkeyServer

#: Seconds between messages, so that each finds the worker idle. Dramatiq's consumer reaches its longest pause after
#: about one.
_PAUSE_S = 1.2
_THREADS = 4

#: Sends a message and returns the milliseconds that it waited.
Send = Callable[[], float]


def _sender(broker: Broker) -> Send:
    waits_ms: list[float] = []
    arrived = threading.Event()

    def note(sent_at: float) -> None:
        waits_ms.append((time.perf_counter() - sent_at) * 1000)
        arrived.set()

    actor = dramatiq.actor(broker=broker, queue_name="bench", actor_name="note")(note)

    def send() -> float:
        arrived.clear()
        actor.send(time.perf_counter())
        assert arrived.wait(10), "a message was lost"
        return waits_ms[-1]

    return send


@contextmanager
def plain(url: str) -> Iterator[Send]:
    """Dramatiq's own broker and worker."""
    broker = RedisBroker(url=url)  # type: ignore[no-untyped-call]  # Dramatiq leaves its Redis broker untyped
    worker = Worker(broker, worker_threads=_THREADS)
    send = _sender(broker)
    worker.start()
    try:
        yield send
    finally:
        worker.stop()


@contextmanager
def waking(url: str) -> Iterator[Send]:
    """foreman's, as its worker processes run it."""
    broker, stop = make_broker(url), threading.Event()
    send = _sender(broker)
    runner = threading.Thread(target=run_worker, args=(broker, {"bench"}, _THREADS, stop, 5.0))
    runner.start()
    try:
        yield send
    finally:
        stop.set()
        runner.join()


def measure(worker: AbstractContextManager[Send], messages: int) -> list[float]:
    """The waits of so many messages, one after the other, in milliseconds, sorted."""
    waits_ms = []
    with worker as send:
        for _ in range(messages):
            time.sleep(_PAUSE_S)
            waits_ms.append(send())
    return sorted(waits_ms)


def show(name: str, waits_ms: list[float]) -> None:
    """One line of the table."""
    percentiles = statistics.quantiles(waits_ms, n=100, method="inclusive")
    print(f"{name:<16} {percentiles[49]:>9.2f} {percentiles[98]:>9.2f} {waits_ms[-1]:>9.2f}")


def main() -> None:
    """Measure both, and print them side by side."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print(f"{messages} messages, each to an idle worker; milliseconds from the send to the actor")
    print(f"{'':<16} {'p50':>9} {'p99':>9} {'max':>9}")
    with tempfile.TemporaryDirectory() as directory, ValkeyServer(Path(directory)) as server:
        for name, worker in (("plain dramatiq", plain), ("foreman", waking)):
            show(name, measure(worker(server.url), messages))


if __name__ == "__main__":
    main()
