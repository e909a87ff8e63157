"""One worker process: the consumers and threads that handle some queues, from boot to the end of the grace period."""

from __future__ import annotations

import logging
import threading
from collections.abc import Set as AbstractSet

import redis
from dramatiq import Worker

from foreman.queue.broker import WakingRedisBroker

_logger = logging.getLogger(__name__)

#: Milliseconds after which an idle thread looks whether the worker is stopping: half of what an idle worker may take to
#: stop. Pushes and acks wake the consumers themselves.
_IDLE_MS = 500


def run_worker(
    broker: WakingRedisBroker, queues: AbstractSet[str], threads: int, stop: threading.Event, grace_s: float
) -> None:
    """Handle messages of ``queues`` on ``threads`` threads until ``stop`` is set. Blocks; one call per process.

    The actors must be declared on ``broker``. After ``stop`` no message is begun, and those being handled have
    ``grace_s`` seconds to end; then their messages go back to the queue for other processes. An actor that has not
    ended by then is left to a daemon thread, which the end of the process ends.
    """
    broker.emit_after("process_boot")
    worker = Worker(broker, queues=set(queues), worker_threads=threads, worker_timeout=_IDLE_MS)
    # Dramatiq would fetch two messages per thread, and a short job would wait behind a long one while another process
    # idles. The delay queue's prefetch stays: its messages only lie in memory until they are due.
    worker.queue_prefetch = threads
    worker.start()
    _logger.info("Handling messages of %s on %d threads", ", ".join(sorted(queues)), threads)
    stop.wait()
    worker.stop(timeout=round(grace_s * 1000))
    try:
        broker.put_back_all()
    except redis.RedisError as error:
        _logger.warning("Redis is away, so unfinished messages go back when this worker counts as dead: %s", error)
    broker.close()
