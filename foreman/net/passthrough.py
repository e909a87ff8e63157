"""One request handed on to the model server as it is, and its answer handed back piece by piece, both under bounds."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from foreman import __version__
from foreman.clock import monotonic
from foreman.domain import fault
from foreman.domain.fault import FIRST_TEXT_PATIENCE, Fault
from foreman.net.dial import dial
from foreman.net.lines import READ_B
from foreman.net.origin import Origin
from foreman.net.watchdog import Watch, Watchdog

#: All that sockets, ``http.client`` and urllib3 raise when a peer misbehaves.
_BROKEN = (OSError, http.client.HTTPException, HTTPError)


@dataclass(frozen=True, slots=True)
class Passthrough:
    """One model server, for requests that are no jobs. Any number of threads may use it.

    An answer may take ``total_s`` seconds in all, and ``silence_s`` without a byte; before its first piece,
    ``FIRST_TEXT_PATIENCE`` times that.
    """

    origin: Origin
    connect_timeout_s: float
    total_s: float
    silence_s: float
    #: Whether the server speaks OpenAI's API, and not Ollama's.
    openai: bool = False
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    watchdog: Watchdog = field(default_factory=Watchdog)

    def passage(self) -> Passage:
        """Room for one request; close it."""
        return Passage(self)


class Passage:
    """One request and its answer. Everything but ``cut`` belongs to one thread at a time."""

    def __init__(self, way: Passthrough) -> None:
        self._way = way
        self._patience_s = way.silence_s * FIRST_TEXT_PATIENCE
        self._http = HTTPConnection(way.origin.host, way.origin.port, timeout=self._patience_s)
        self._sock: socket.socket
        self._response: HTTPResponse
        # Guards the two below: a cut must find the connection there is, or keep it from being used.
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._cut = False

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Fault | None:
        """Send a request and read the head of its answer; the ``Fault``, for people to read, if there is none."""
        way = self._way
        sock = dial(way.origin, way.tls, monotonic() + way.connect_timeout_s, way.watchdog.watch)
        if isinstance(sock, Fault):
            return sock
        self._http.sock = self._sock = sock
        with self._lock:
            try:
                self._watch = watch = way.watchdog.watch(sock, monotonic() + way.total_s)
            except OSError:  # no descriptor is left to watch it with
                return fault.not_connected("could not be reached")
            if self._cut:
                watch.cut()
        sent = {"User-Agent": f"foreman/{__version__}"} | dict(headers) | way.origin.headers
        try:
            self._http.request(
                method, way.origin.prefix + path, body, sent, preload_content=False, decode_content=False
            )
            self._response = self._http.getresponse()
        except TimeoutError:
            return fault.stalled(self._patience_s)
        except _BROKEN:
            return fault.exec_timeout(way.total_s) if watch.fired else fault.dropped(streaming=False)
        return None

    @property
    def status(self) -> int:
        """The server's status, once it has answered."""
        return int(self._response.status)

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        found = self._response.headers.get(name)
        return None if found is None else str(found)

    def __iter__(self) -> Iterator[bytes]:
        """The body, in pieces as they come; that of an error without our credentials, which it may quote.

        Raises:
            ConnectionResetError: the answer broke off or took too long.
        """
        pieces = self._pieces()
        if self.status >= HTTPStatus.BAD_REQUEST:
            # Together, since two pieces may hold a part each. More than this is no text of an error.
            beginning = b""
            while len(beginning) < READ_B and (piece := next(pieces, b"")):
                beginning += piece
            yield self._way.origin.concealed(beginning)
        yield from pieces

    def _pieces(self) -> Iterator[bytes]:
        try:
            while piece := self._response.read1(READ_B, decode_content=False):
                # The answer may have come whole, and its socket been closed for that.
                with suppress(OSError):
                    self._sock.settimeout(self._way.silence_s)
                yield piece
        except _BROKEN as error:
            raise ConnectionResetError from error
        # Without a length the end of a connection looks like that of an answer, whoever brought it about.
        if self._cut or self._watch is None or self._watch.fired:
            raise ConnectionResetError

    def cut(self) -> None:
        """Break off, from any thread: the server notices, and whoever reads here has read all there will be."""
        with self._lock:
            self._cut = True
            if self._watch is not None:
                self._watch.cut()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.__exit__(None, None, None)
        self._http.close()
