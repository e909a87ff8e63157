"""A connection to the upstream, opened before anything is sent: a refusal must be known while the job is queued."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from urllib3.util import wait_for_write

from foreman.clock import monotonic
from foreman.domain import fault
from foreman.domain.fault import Fault
from foreman.net.origin import Origin
from foreman.net.watchdog import Watch

#: ``watched(sock, deadline_monotonic)`` keeps a socket under the watchdog, and within reach of an abort.
Watched = Callable[[socket.socket, float], AbstractContextManager[Watch]]

#: Seconds between two looks at whether a connection in the making is still wanted; "at once", for a person.
_LOOK_S = 0.05


def dial(origin: Origin, tls: ssl.SSLContext, deadline: float, watched: Watched) -> socket.socket | Fault:
    """A connected socket, TLS included, tried at each address of the host in turn until ``deadline`` (monotonic)."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return fault.not_connected("has a name that could not be resolved")
    refusal = fault.not_connected("has a name without an address")
    for family, kind, protocol, _, address in found:
        late = False
        try:
            sock = socket.socket(family, kind, protocol)
            with watched(sock, deadline) as watch:
                try:
                    _connect(sock, address, watch)
                    sock.settimeout(max(_LOOK_S, deadline - monotonic()))
                    return tls.wrap_socket(sock, server_hostname=origin.host) if origin.tls else sock
                except OSError:
                    late = watch.fired
                    sock.close()
                    raise
        except OSError as error:
            refusal = fault.not_connected(_failure(error, late=late))
    return refusal


def _connect(sock: socket.socket, address: Any, watch: Watch) -> None:  # noqa: ANN401 — whatever getaddrinfo gave
    # A call may wait for minutes without a byte, and a network device on the way forgets a connection that is silent.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(0)
    problem = sock.connect_ex(address)
    # Shutting down a socket that is still connecting has no effect on some systems, so the watch is looked at as well.
    while problem == errno.EINPROGRESS and not wait_for_write(sock, _LOOK_S):
        if watch.was_cut or watch.fired:
            raise TimeoutError
    if problem := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if problem == errno.EINPROGRESS else problem:
        raise OSError(problem, os.strerror(problem))


def _failure(error: OSError, *, late: bool) -> str:
    """What the upstream did, for people; ``late``: the deadline cut the connection, whatever the error looks like."""
    match error:
        case _ if late or isinstance(error, TimeoutError):
            return "did not accept the connection in time"
        case ssl.SSLCertVerificationError():
            return "has a certificate that is not valid for its name"
        case ssl.SSLError():
            return "could not agree on TLS"
        case ConnectionRefusedError():
            return "refused the connection"
        case _:
            return "could not be reached"
