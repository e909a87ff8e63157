"""A connection to the upstream, opened before anything is sent: a refusal must be known while the job is queued."""

from __future__ import annotations

import errno
import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeAlias

from urllib3.util import wait_for_write

from foreman.clock import monotonic
from foreman.domain import fault
from foreman.domain.fault import Fault
from foreman.net.origin import Origin
from foreman.net.watchdog import Watch

#: ``watched(sock, deadline_monotonic)`` keeps a socket under the watchdog, and within reach of an abort.
Watched = Callable[[socket.socket, float], AbstractContextManager[Watch]]

#: As ``socket.getaddrinfo`` has it: family, kind, protocol, canonical name, address.
Found: TypeAlias = tuple[int, int, int, str, Any]

#: Seconds between two looks at whether a connection in the making is still wanted; "at once", for a person.
_LOOK_S = 0.05

#: What an upstream did that was not there before the deadline.
_LATE = "did not accept the connection in time"


def dial(origin: Origin, tls: ssl.SSLContext, deadline: float, watched: Watched) -> socket.socket | Fault:
    """A connected socket, TLS included, to the host of ``origin``, before ``deadline`` (monotonic)."""
    found = _look_up(origin, deadline)
    if found is None:
        return fault.not_connected("has a name that could not be resolved")
    return connect(found, origin, tls, deadline, watched)


def connect(
    found: Sequence[Found], origin: Origin, tls: ssl.SSLContext, deadline: float, watched: Watched
) -> socket.socket | Fault:
    """A connected socket, TLS included, to the first address that is there; each has a fair share of the time left.

    An address that is a black hole, as IPv6 often is where it is half set up, would else leave no time for the next.
    """
    refusal = fault.not_connected("has a name without an address")
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        if (now := monotonic()) >= deadline:
            return fault.not_connected(_LATE)
        until = now + (deadline - now) / (len(found) - tried)
        sock: socket.socket | None = None
        watch: Watch | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            with watched(sock, until) as watch:
                _connect(sock, address, watch)
                sock.settimeout(max(_LOOK_S, until - monotonic()))
                return tls.wrap_socket(sock, server_hostname=origin.host) if origin.tls else sock
        except OSError as error:
            refusal = fault.not_connected(_failure(error, late=watch is not None and watch.fired))
            if sock is not None:
                sock.close()
    return refusal


def _look_up(origin: Origin, deadline: float) -> Sequence[Found] | None:
    """The addresses of the host; ``None`` if it has no such name, or if that did not turn out before ``deadline``.

    A resolver cannot be interrupted (glibc asks each server twice, 5 s each), so it runs in a thread that may outlive
    its use. An address needs no resolver, and so no thread.
    """
    with suppress(OSError):
        return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answer: queue.SimpleQueue[Sequence[Found] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            answer.put(None)

    threading.Thread(target=ask, name="resolve-upstream", daemon=True).start()
    try:
        return answer.get(timeout=max(0.0, deadline - monotonic()))
    except queue.Empty:
        return None


def _connect(sock: socket.socket, address: Any, watch: Watch) -> None:  # noqa: ANN401 — whatever getaddrinfo gave
    # A call may wait for minutes without a byte, and a network device on the way forgets a connection that is silent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(0)
    problem = sock.connect_ex(address)
    # Shutting down a socket that is still connecting has no effect on some systems, so the watch is looked at as well.
    while problem == errno.EINPROGRESS and not (watch.was_cut or watch.fired) and not wait_for_write(sock, _LOOK_S):
        pass
    # It does on Linux, where a socket that was shut down before it began to connect looks as if it had.
    if watch.was_cut or watch.fired:
        raise TimeoutError
    if problem := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if problem == errno.EINPROGRESS else problem:
        raise OSError(problem, os.strerror(problem))


def _failure(error: OSError, *, late: bool) -> str:
    """What the upstream did, for people; ``late``: the deadline cut the connection, whatever the error looks like."""
    match error:
        case _ if late or isinstance(error, TimeoutError):
            return _LATE
        case ssl.SSLCertVerificationError():
            return "has a certificate that is not valid for its name"
        case ssl.SSLError():
            return "could not agree on TLS"
        case ConnectionRefusedError():
            return "refused the connection"
        case _:
            return "could not be reached"
