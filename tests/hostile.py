"""A peer on loopback that behaves as badly as a test wants it to, over plain TCP or TLS."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.receiver import server_tls

#: What a peer does with one connection; the event is set when the test is over, and paces what goes on until then.
Behaviour = Callable[[socket.socket, threading.Event], None]


class HostilePeer:
    """Accepts connections while the ``with`` block lasts, each handled by ``behave`` in a thread of its own."""

    def __init__(self, behave: Behaviour, *, tls: bool = False) -> None:
        self._behave = behave
        self._tls = server_tls() if tls else None
        self._scheme = "https" if tls else "http"
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        """Where to send."""
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._handle, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _handle(self, connection: socket.socket) -> None:
        with (
            suppress(OSError),
            self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as sock,
        ):
            sock.settimeout(30)
            self._behave(sock, self._over)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)


def says(data: bytes) -> Behaviour:
    """Read the beginning of the request, say ``data``, hang up."""

    def behave(sock: socket.socket, _over: threading.Event) -> None:
        sock.recv(65_536)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):  # closing on unread bytes would reset the connection, and what was said with it
            pass

    return behave


def drips(head: bytes, drop: bytes) -> Behaviour:
    """Say ``head``, then ``drop`` every 20 ms for ever."""

    def behave(sock: socket.socket, over: threading.Event) -> None:
        sock.recv(65_536)
        sock.sendall(head)
        while not over.wait(0.02):
            sock.sendall(drop)

    return behave


def floods(head: bytes, data: bytes) -> Behaviour:
    """Say ``head``, then ``data`` as fast as it is taken, for ever."""

    def behave(sock: socket.socket, over: threading.Event) -> None:
        sock.recv(65_536)
        sock.sendall(head)
        while not over.is_set():
            sock.sendall(data)

    return behave


def is_silent(_sock: socket.socket, over: threading.Event) -> None:
    """Accept the connection, read nothing, say nothing."""
    over.wait()


def resets(sock: socket.socket, _over: threading.Event) -> None:
    """Read the request, then reset the connection."""
    sock.recv(65_536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
