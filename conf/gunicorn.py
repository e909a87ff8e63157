"""How gunicorn serves the API: `foreman process web` reads this file, and the numbers come from foreman's settings.

The master reads it, and so loads once what all workers need: modules only, which open nothing, since a fork must not
share a connection, a lock or a thread. New code is served after a restart, not after a SIGHUP.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreman import logs, wiring
from foreman.api import wsgi
from foreman.cli import tether
from foreman.settings import from_environment

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

_settings = from_environment()

#: Seconds a client may take to send or read anything within a request. gunicorn has no limit of its own, so a client
#: that stalls in a header or a body would hold a thread for good.
STALL_S = 30

wsgi_app = f"{wsgi.__name__}:application()"
bind = _settings.web.bind
# Threads, since a request that waits or streams costs one for its whole length and nothing else.
worker_class = "foreman.api.worker.Worker"
workers = _settings.web.workers
# Made when they are first needed: followers that there are none of cost nothing.
threads = _settings.web.threads + _settings.web.followers
# Beyond the threads, what may be kept alive between two requests: without room for that, a worker hangs up after each,
# and a client that asks at that moment loses its request. Requests that last never take all threads.
worker_connections = threads + 1000
keepalive = 75
graceful_timeout = int(_settings.workers.shutdown_grace_s)
# Seconds without a sign of life from a worker's main loop, not from a request, before it is replaced.
timeout = 60
# Each worker makes its own application, for the reason above.
preload_app = False
# The heartbeat is a file: on a disk that stalls, it would be a false alarm.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 -- gunicorn makes and unlinks it there
# No second door: by default gunicorn listens for commands on a Unix socket.
control_socket_disable = True
# foreman logs requests itself. gunicorn's first line comes before our handler is in place: warnings only until then.
accesslog = None
loglevel = "warning"


def on_starting(_server: Arbiter) -> None:
    """Log like every other process of foreman."""
    # What is there for good is not to be looked through in each worker, which would make the page its own.
    gc.freeze()
    logs.configure(_settings.log, process="web")
    logging.getLogger("gunicorn.error").addFilter(_is_no_stall)


def when_ready(server: Arbiter) -> None:
    """Bound every read and write of every connection: accepted sockets inherit the listener's options."""
    limit = struct.pack("@ll", STALL_S, 0)
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def post_fork(_server: Arbiter, worker: Worker) -> None:
    """Do not outlive the master: a worker of a killed one would keep the port for as long as its requests last."""
    tether.die_with(worker.ppid)


def post_worker_init(worker: Worker) -> None:
    """Let requests that only wait end with what is so when a stop is asked for, and not when they are cut off."""

    def stop(number: int, frame: Any) -> None:  # noqa: ANN401 -- a frame, which gunicorn hands on unread
        wiring.stopping.set()
        worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, stop)
    watch = wiring.services().measurer.watch
    threading.Thread(target=watch, args=(wiring.stopping,), name="measurer", daemon=True).start()


def worker_exit(_server: Arbiter, _worker: Worker) -> None:
    """Hand over what was counted and traced since the last time."""
    wiring.services().measurer.hand_over()
    wiring.tracer().close()


def _is_no_stall(record: logging.LogRecord) -> bool:
    """Whether a record is worth its place: gunicorn takes the end of ``STALL_S`` for an error, with a traceback."""
    return record.exc_info is None or not isinstance(record.exc_info[1], BlockingIOError)
