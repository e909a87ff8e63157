"""Calls to the model server: opened, preloaded and streamed under wall-clock bounds, cut at once from any thread."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError, SSLError

from foreman import __version__
from foreman.clock import monotonic
from foreman.domain import fault
from foreman.domain.completion import Assembly, Completion
from foreman.domain.fault import Aborted, Fault
from foreman.domain.preload import preload
from foreman.net.dial import dial
from foreman.net.lines import READ_B, lines
from foreman.net.origin import Origin, parse
from foreman.net.watchdog import Watch, Watchdog

#: Bytes of one line. A line is a token or a tool call; an upstream that does not stream puts all in one.
LINE_LIMIT_B = 8 * 2**20
#: Bytes of what one call may generate: some 16 million tokens, a hundred times the longest context there is.
COMPLETION_LIMIT_B = 64 * 2**20
#: Bytes of an error's body that are read, and seconds they may take: the status alone has decided already.
ERROR_LIMIT_B = 16_384
ERROR_LIMIT_S = 2.0
#: Seconds the end of a preload's answer may take once it has said ``done``: it is behind it in the same packet.
_DRAIN_LIMIT_S = 0.5

_OK = 200
#: All that sockets, ``http.client`` and urllib3 raise when a peer misbehaves.
_BROKEN = (OSError, http.client.HTTPException, HTTPError)

_Answer = TypeVar("_Answer")
_HEADERS = {"Content-Type": "application/json", "User-Agent": f"foreman/{__version__}"}


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How long one exchange may take; ``deadline`` is monotonic, ``silence_s`` the longest wait for the next byte."""

    deadline: float
    silence_s: float
    overdue: Fault
    silent: Fault


class Upstream:
    """One model server, ``url`` as in the setting ``upstream.url``. Any number of threads may call it.

    No proxy of the environment is used and no redirect followed: the operator named this server and no other.
    ``tls`` replaces the system's certificate authorities.

    Raises:
        SettingInvalid: ``url`` cannot be used.
    """

    def __init__(self, url: str, connect_timeout_s: float, *, tls: ssl.SSLContext | None = None) -> None:
        self._origin = parse(url)
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls or ssl.create_default_context()
        self._watchdog = Watchdog()

    def call(self) -> Call:
        """A call that is not connected yet, for a caller that wants to be able to abort the connecting too."""
        return Call(self._origin, self._tls, self._watchdog, self._connect_timeout_s)

    def connect(self) -> Call | Fault:
        """Open a connection and send nothing; the caller closes the ``Call``. The fault of a refusal has not begun."""
        call = self.call()
        outcome = call.connect()
        if isinstance(outcome, Fault):
            return outcome
        return call

    def probe(self, timeout_s: float) -> Fault | None:
        """Whether the server answers ``GET /api/version`` within ``timeout_s``; ``None`` when it does."""
        with Call(self._origin, self._tls, self._watchdog, min(timeout_s, self._connect_timeout_s)) as call:
            return call.version(timeout_s)


class Call:
    """One use of the upstream: at most one ``load`` and one ``chat``, over one connection where the server keeps it.

    Everything but ``abort`` belongs to one thread. Use as a context manager, or ``close`` it.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext, watchdog: Watchdog, connect_timeout_s: float) -> None:
        self._origin = origin
        self._tls = tls
        self._watchdog = watchdog
        self._connect_timeout_s = connect_timeout_s
        # It never connects by itself: the socket is put in, dialled and wrapped in TLS by ``dial``.
        self._http = HTTPConnection(origin.host, origin.port)
        self._sock: socket.socket
        self._response: HTTPResponse | None = None
        self._assembly = Assembly(COMPLETION_LIMIT_B)
        # Guards the two below: an abort must find the watch of whatever is blocked, or stop it from being entered.
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._aborted = False

    @property
    def text(self) -> str:
        """What ``chat`` has received of the answer's ``content``: all there is when it ends in a fault."""
        return self._assembly.text

    def abort(self) -> None:
        """Make the call in progress, and any later one, return ``Aborted`` at once; from any thread, any time.

        The connection is shut down, by which Ollama notices and stops generating. Only a resolver is waited for,
        no longer than ``connect_timeout_s``.
        """
        with self._lock:
            self._aborted = True
            if self._watch is not None:
                self._watch.cut()

    def connect(self) -> Fault | Aborted | None:
        """Open the connection and send nothing; ``None`` when it is open."""
        deadline = monotonic() + self._connect_timeout_s
        outcome = Aborted() if self._aborted else dial(self._origin, self._tls, deadline, self._watched)
        if self._aborted:
            if isinstance(outcome, socket.socket):
                outcome.close()
            return Aborted()
        if not isinstance(outcome, socket.socket):
            return outcome
        self._http.sock = self._sock = outcome
        self._response = None
        return None

    def load(self, payload: bytes, *, timeout_s: float) -> Fault | Aborted | None:
        """Get the model that the job's ``payload`` names into memory; ``None`` when it is there."""
        body = preload(payload)
        if body is None:
            return Aborted() if self._aborted else None
        late = fault.load_timeout(timeout_s)
        outcome = self._chat(
            body, _Bounds(monotonic() + timeout_s, timeout_s, late, late), Assembly(LINE_LIMIT_B), None
        )
        return None if isinstance(outcome, Completion) else outcome

    def chat(
        self,
        payload: bytes,
        *,
        exec_timeout_s: float,
        stall_timeout_s: float,
        on_text: Callable[[dict[str, Any]], None] | None = None,
    ) -> Completion | Fault | Aborted:
        """Send ``payload``, a JSON object without ``stream``, and read the answer to its end.

        Bounded by ``exec_timeout_s`` in all, and by ``stall_timeout_s`` for each wait for the next byte, the first one
        included. ``on_text`` is called in this thread with each line, decoded, and must not raise.
        """
        bounds = _Bounds(
            deadline=monotonic() + exec_timeout_s,
            silence_s=stall_timeout_s,
            overdue=fault.exec_timeout(exec_timeout_s),
            silent=fault.stalled(stall_timeout_s),
        )
        # Spliced, since decoding and encoding twenty megabytes of images for one key would take a second.
        return self._chat(payload.rstrip()[:-1] + b',"stream":true}', bounds, self._assembly, on_text)

    def version(self, timeout_s: float) -> Fault | None:
        """Ask for the server's version and only look at the status."""
        late = fault.not_connected(f"did not answer within {timeout_s:g} s")
        bounds = _Bounds(monotonic() + timeout_s, timeout_s, late, late)

        def read(response: HTTPResponse) -> Fault | None:
            return None if response.status == _OK else self._refusal(response, bounds)

        outcome = self._exchange("GET", "/api/version", None, bounds, read)
        return fault.dropped(streaming=False) if isinstance(outcome, Aborted) else outcome

    def close(self) -> None:
        """Close the connection; the call cannot be used again."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _chat(
        self,
        body: bytes,
        bounds: _Bounds,
        assembly: Assembly,
        on_text: Callable[[dict[str, Any]], None] | None,
    ) -> Completion | Fault | Aborted:
        def read(response: HTTPResponse) -> Completion | Fault:
            if response.status != _OK:
                return self._refusal(response, bounds)
            for line in lines(partial(response.read1, decode_content=False), LINE_LIMIT_B):
                chunk = fault.unreadable("a line without an end") if line is None else assembly.feed(line)
                # What the kernel had received can be read after an abort too, and need not be.
                if isinstance(chunk, Fault) or self._aborted:
                    return chunk if isinstance(chunk, Fault) else fault.dropped(streaming=True)
                if on_text is not None:
                    on_text(chunk)
                if assembly.done:
                    break
            return assembly.finish()

        return self._exchange("POST", "/api/chat", body, bounds, read)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        bounds: _Bounds,
        read: Callable[[HTTPResponse], _Answer | Fault],
    ) -> _Answer | Fault | Aborted:
        if (unready := self._ready()) is not None:
            return unready
        watch: Watch | None = None
        self._response = None
        try:
            with self._watched(self._sock, bounds.deadline) as watch:
                self._response = self._send(method, path, body, bounds)
                outcome = read(self._response)
        except _BROKEN as error:
            outcome = _class_of(error, bounds, streaming=self._response is not None and self._response.tell() > 0)
        if not isinstance(outcome, Fault):
            return outcome
        if self._aborted:
            return Aborted()
        # A socket that was shut down reads like one that the server closed, so the watch is asked before the fault is.
        return bounds.overdue if watch is not None and watch.fired else outcome

    def _send(self, method: str, path: str, body: bytes | None, bounds: _Bounds) -> HTTPResponse:
        self._http.timeout = bounds.silence_s
        # A server may refuse a body without reading all of it; what it said is then there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._http.request(
                method,
                self._origin.prefix + path,
                body=body,
                headers=_HEADERS | self._origin.headers,
                preload_content=False,
                decode_content=False,
            )
        return self._http.getresponse()

    def _refusal(self, response: HTTPResponse, bounds: _Bounds) -> Fault:
        """The fault of a status other than 200, with as much of its body as came in time."""
        body = b""
        with suppress(*_BROKEN), self._watched(self._sock, min(bounds.deadline, monotonic() + ERROR_LIMIT_S)):
            while len(body) < ERROR_LIMIT_B and (data := response.read1(ERROR_LIMIT_B, decode_content=False)):
                body += data
        text = body[:ERROR_LIMIT_B].decode(errors="replace")
        return fault.answered(response.status, text, retry_after=response.headers.get("Retry-After"))

    def _ready(self) -> Fault | Aborted | None:
        if self._aborted:
            return Aborted()
        if self._http.sock is not None and (self._response is None or self._reusable(self._response)):
            return None
        self._http.close()
        return self.connect()

    def _reusable(self, previous: HTTPResponse) -> bool:
        """Whether the server keeps the connection after its ``previous`` answer, and has nothing left to say on it."""
        try:
            with self._watched(self._sock, monotonic() + _DRAIN_LIMIT_S):
                return not previous.read1(READ_B, decode_content=False) and self._http.is_connected
        except _BROKEN:
            return False

    @contextmanager
    def _watched(self, sock: socket.socket, deadline: float) -> Iterator[Watch]:
        with self._watchdog.watch(sock, deadline) as watch:
            with self._lock:
                outer, self._watch = self._watch, watch
                if self._aborted:
                    watch.cut()
            try:
                yield watch
            finally:
                with self._lock:
                    self._watch = outer


def _class_of(error: Exception, bounds: _Bounds, *, streaming: bool) -> Fault:
    """The fault that an exception of the sockets, of ``http.client`` or of urllib3 stands for."""
    match error:
        case TimeoutError() | ReadTimeoutError():
            return bounds.silent
        case OSError() | ProtocolError() | SSLError() | http.client.IncompleteRead():
            return fault.dropped(streaming=streaming)
        case _:
            return fault.unreadable("an answer that is not HTTP")
