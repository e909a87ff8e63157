"""One try to deliver an event: a POST that ends in time and in bounds, whatever the receiver does."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import urllib3
from urllib3.connection import HTTPConnection

from foreman.clock import monotonic
from foreman.domain.address import Policy, Refusal, Target, judge_url
from foreman.domain.delivery import Attempt, TryError, excerpt_of
from foreman.net.guard import Resolver, connect, resolve
from foreman.net.watchdog import Watchdog

#: Bytes of an answer's body that are read. Contract section 5.
BODY_LIMIT_B = 16_384

#: Bytes of an answer's head that are read, interim answers included: four times what Node.js lets anybody send, and it
#: ends an endless row of ``100 Continue`` early.
HEAD_LIMIT_B = 65_536

#: Characters of ``Retry-After`` that are kept; the longest HTTP-date has 33.
_RETRY_AFTER_CHARS = 64

#: What a receiver can make the HTTP code raise. Of its own it lets ValueError out for numbers of absurd length.
_FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    excerpt: str


class WebhookSender:
    """Sends to what ``policy`` allows; each try ends within ``timeout_s`` seconds. Any number of threads may use it.

    Redirects are not followed, proxies of the environment not used, answers not decompressed. Each try has a connection
    of its own: one kept open would have to be judged again, and closing tells the receiver that no more will come.
    """

    def __init__(
        self,
        policy: Policy,
        timeout_s: float,
        *,
        watchdog: Watchdog | None = None,
        getaddrinfo: Resolver = socket.getaddrinfo,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._watchdog = watchdog or Watchdog()
        self._getaddrinfo = getaddrinfo
        self._tls = tls or ssl.create_default_context()

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST ``body`` to ``url`` once. Never raises for anything that a URL, a resolver or a receiver can do."""
        began = monotonic()
        came = self._try(url, headers, body, began + self._timeout_s)
        duration_ms = round((monotonic() - began) * 1000)
        if isinstance(came, TryError):
            return Attempt(None, came, None, "", duration_ms)
        return Attempt(came.status, None, came.retry_after, came.excerpt, duration_ms)

    def _try(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> _Answer | TryError:
        target = judge_url(url, self._policy)
        if isinstance(target, Refusal):
            return TryError.ADDRESS_REFUSED
        places = resolve(target, self._policy, deadline, self._getaddrinfo)
        if isinstance(places, TryError):
            return places
        sock = connect(places, deadline)
        if isinstance(sock, TryError):
            return sock
        with sock, self._watchdog.watch(sock, deadline) as watch:
            try:
                return self._exchange(sock, target, headers, body)
            except _FAILURES as error:
                return TryError.TIMEOUT if watch.fired else _class_of(error)

    def _exchange(self, sock: socket.socket, target: Target, headers: Mapping[str, str], body: bytes) -> _Answer:
        sock.settimeout(self._timeout_s)
        if target.scheme == "https":
            # The name, not the address it was resolved to, is what SNI carries and the certificate must be for.
            sock = self._tls.wrap_socket(sock, server_hostname=target.host)
        with _Connection(sock, target, self._timeout_s) as connection:
            _write(connection, target, headers, body)
            with contextlib.closing(connection.getresponse()) as response:
                return _Answer(
                    status=response.status,
                    retry_after=response.headers.get("Retry-After", "")[:_RETRY_AFTER_CHARS] or None,
                    excerpt=excerpt_of(_beginning(response)),
                )


class _Reader(io.BufferedReader):
    """An answer's bytes. A line that ends without a line break, or lines without an end, are failures here.

    ``http.client`` takes the end of the connection for the end of the headers: a receiver cut off at the deadline
    within them would have answered.
    """

    _lines_b = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._lines_b += len(line)
        if self._lines_b > HEAD_LIMIT_B:
            raise http.client.LineTooLong("head")
        if not line.endswith(b"\n") and len(line) != size:
            raise ConnectionResetError
        return line


class _Response(http.client.HTTPResponse):
    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.fp = _Reader(sock.makefile("rb", buffering=0))


class _Connection(HTTPConnection):
    """HTTP over a socket that is connected already."""

    response_class = _Response

    def __init__(self, sock: socket.socket, target: Target, timeout_s: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout_s)
        self.sock = sock
        self.auto_open = 0  # never connect anywhere by name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write(connection: _Connection, target: Target, headers: Mapping[str, str], body: bytes) -> None:
    own = {"Host": target.authority, "Connection": "close", "Accept-Encoding": "identity"}
    try:
        connection.request("POST", target.path, body, {**headers, **own}, preload_content=False, decode_content=False)
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return  # a receiver may answer and close without reading it all, with 413 for example: read what it said


def _beginning(response: urllib3.BaseHTTPResponse) -> bytes:
    """The body up to its limit. The status has decided, so a body that breaks off or goes on for ever changes nothing.

    More is read than kept, since closing on unread bytes resets the connection under a receiver that still writes.
    """
    read = b""
    try:
        while len(read) < BODY_LIMIT_B and (data := response.read1(BODY_LIMIT_B - len(read), decode_content=False)):
            read += data
    except _FAILURES:
        return read
    return read


def _class_of(error: Exception) -> TryError:
    match error:
        case TimeoutError():
            return TryError.TIMEOUT
        case ssl.SSLError():
            return TryError.TLS
        case OSError():
            return TryError.RESET
        case _:
            return TryError.PROTOCOL
