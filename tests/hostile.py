"""A peer on loopback that behaves as badly as a test wants it to, over plain TCP or TLS."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from foreman.domain.delivery import TryError
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
    slams(sock, _over)


def slams(sock: socket.socket, _over: threading.Event) -> None:
    """Reset the connection without reading anything."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def bombs(head: bytes) -> Behaviour:
    """Say ``head``, then a gzip stream without end, a thousand times as long as it looks."""
    return floods(head, gzip.compress(bytes(10_000_000)))


class Case(NamedTuple):
    """A way to behave, and what a try to deliver ``body_b`` bytes to such a peer comes to."""

    name: str
    behave: Behaviour
    #: The status, or why there was none.
    outcome: int | TryError
    body_b: int = 2


HELLO = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = HELLO + b"Transfer-Encoding: chunked\r\n\r\n"

CASES: tuple[Case, ...] = (
    Case("never answers", is_silent, TryError.TIMEOUT),
    Case("never reads", is_silent, TryError.TIMEOUT, 20_000_000),
    Case("drips its first word", drips(b"", b"H"), TryError.TIMEOUT),
    Case("drips its status", drips(b"HTTP/1.1 200 ", b"O"), TryError.TIMEOUT),
    Case("drips its headers", drips(HELLO, b"X: y\r\n"), TryError.TIMEOUT),
    Case("drips one header", drips(HELLO + b"X: ", b"y"), TryError.TIMEOUT),
    Case("drips interim answers", drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TryError.TIMEOUT),
    Case("drips its body", drips(HELLO + b"Content-Length: 100000\r\n\r\n", b"x"), 200),
    Case("drips its chunks", drips(_CHUNKED, b"1\r\nx\r\n"), 200),
    Case("drips a chunk's size", drips(_CHUNKED, b"0"), 200),
    Case("floods interim answers", floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), TryError.PROTOCOL),
    Case("floods headers", floods(HELLO, b"X: y\r\n" * 1000), TryError.PROTOCOL),
    Case("floods one header", floods(HELLO, b"X" * 100_000), TryError.PROTOCOL),
    Case("has 500 headers", says(HELLO + b"X: y\r\n" * 500 + b"\r\n"), TryError.PROTOCOL),
    Case("floods its body", floods(HELLO + b"\r\n", b"x" * 100_000), 200),
    Case("sends 10 GB", floods(HELLO + b"Content-Length: 10000000000\r\n\r\n", b"x" * 1_000_000), 200),
    Case("sends 10 GB to be kept", floods(b"HTTP/1.1 500 X\r\nContent-Length: 10000000000\r\n\r\n", b"x" * 9999), 500),
    Case("sends a chunk of 10 GB", floods(_CHUNKED + b"2540be400\r\n", b"x" * 1_000_000), 200),
    Case("sends a gzip bomb", bombs(HELLO + b"Content-Encoding: gzip\r\n\r\n"), 200),
    Case("sends a gzip bomb as a coding", bombs(HELLO + b"Transfer-Encoding: gzip\r\n\r\n"), 200),
    Case("floods trailers", floods(_CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), 200),
    Case("resets", resets, TryError.RESET),
    Case("resets at once", slams, TryError.RESET),
    Case("hangs up", says(b""), TryError.RESET),
    Case("hangs up in its status", says(b"HTTP/1.1 20"), TryError.RESET),
    Case("hangs up in its headers", says(HELLO + b"Content-"), TryError.RESET),
    Case("hangs up after its headers' first", says(HELLO + b"X: y\r\n"), TryError.RESET),
    Case("hangs up in its body", says(HELLO + b"Content-Length: 5\r\n\r\nx"), 200),
    Case("speaks no HTTP", says(b"220 mail.example.com ESMTP\r\n"), TryError.PROTOCOL),
    Case("speaks HTTP of its own", says(b"HTTP/1.1 -1 what\r\n\r\n"), TryError.PROTOCOL),
    Case("lies about lengths", says(HELLO + b"Content-Length: 5, 6\r\n\r\nx"), TryError.PROTOCOL),
    Case("lies about a chunk", says(_CHUNKED + b"zz\r\n"), 200),
    Case("counts beyond counting", says(HELLO + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx"), 200),
)
