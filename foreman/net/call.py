"""One use of a model server of any kind: connected, asked and read under wall-clock bounds, cut from any thread."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError, SSLError
from urllib3.util.wait import wait_for_read

from foreman import __version__
from foreman.clock import monotonic
from foreman.domain import fault
from foreman.domain.came_with import trace_header
from foreman.domain.completion import Assembly, Completion
from foreman.domain.fault import FIRST_TEXT_PATIENCE, Aborted, Fault
from foreman.domain.upstream import Survey
from foreman.net.dial import dial
from foreman.net.lines import READ_B, lines
from foreman.net.origin import Origin
from foreman.net.watchdog import Watch, Watchdog

#: Bytes of one line. A line is a token or a tool call; an upstream that does not stream puts all in one.
LINE_LIMIT_B = 8 * 2**20
#: Bytes of what one call may generate: some 16 million tokens, a hundred times the longest context there is.
COMPLETION_LIMIT_B = 64 * 2**20
#: Bytes of an error's body that are read, and seconds they may take: the status alone has decided already.
ERROR_LIMIT_B = 16_384
ERROR_LIMIT_S = 2.0
#: Bytes of a list of models: a thousand times what LM Studio says of one.
LIST_LIMIT_B = 2**20
#: How a server says that it has no list. It may have the models all the same.
NO_LIST = frozenset({404, 405, 501})
#: Seconds the end of a preload's answer may take once it has said ``done``: it is behind it in the same packet.
_DRAIN_LIMIT_S = 0.5

OK = 200
#: All that sockets, ``http.client`` and urllib3 raise when a peer misbehaves.
_BROKEN = (OSError, http.client.HTTPException, HTTPError)

_Answer = TypeVar("_Answer")
_HEADERS = {"Content-Type": "application/json", "User-Agent": f"foreman/{__version__}"}

#: Called with each line of an answer in Ollama's form, decoded, in the thread of the call; must not raise.
OnText: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Silence:
    """The longest wait for the next byte, and what a longer one is."""

    limit_s: float
    fault: Fault


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long one exchange may take: until ``deadline``, which is monotonic, and how long it may be silent."""

    deadline: float
    overdue: Fault
    #: Until the first text of the answer, and from there on.
    first: Silence
    further: Silence


def chat_bounds(exec_timeout_s: float, stall_timeout_s: float) -> Bounds:
    """The bounds of a chat that begins now: while the upstream reads the prompt it may be silent for longer."""
    return Bounds(
        deadline=monotonic() + exec_timeout_s,
        overdue=fault.exec_timeout(exec_timeout_s),
        first=_stall(stall_timeout_s * FIRST_TEXT_PATIENCE),
        further=_stall(stall_timeout_s),
    )


def load_bounds(timeout_s: float) -> Bounds:
    """The bounds of a load that begins now: it may be silent as long as it may last."""
    return _until_late(timeout_s, fault.load_timeout(timeout_s))


def probe_bounds(timeout_s: float) -> Bounds:
    """The bounds of a look at the server that begins now."""
    return _until_late(timeout_s, fault.not_connected(f"did not answer within {timeout_s:g} s"))


def _stall(limit_s: float) -> Silence:
    return Silence(limit_s, fault.stalled(limit_s))


def _until_late(timeout_s: float, late: Fault) -> Bounds:
    silence = Silence(timeout_s, late)
    return Bounds(monotonic() + timeout_s, late, silence, silence)


class Wording(Protocol):
    """Turns the lines of one answer, as a kind of upstream writes them, into Ollama's."""

    def take(self, line: bytes) -> Sequence[bytes] | Fault:
        """The lines that the next ``line`` of the answer amounts to, often none."""

    def end(self) -> Sequence[bytes] | Fault:
        """The lines still due when the answer has ended in good order."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What becomes of the lines of one answer: put into Ollama's words, assembled, and shown to ``on_text``."""

    assembly: Assembly
    wording: Wording
    on_text: OnText | None = None


class Call(ABC):
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
        #: How long the exchange in progress may be silent now.
        self._silence: Silence
        self._assembly = Assembly(COMPLETION_LIMIT_B)
        # Guards the two below: an abort must find the watch of whatever is blocked, or stop it from being entered.
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._aborted = threading.Event()
        #: Called in this thread each time a request is on its way, so no time is lost; what it raises ends the call.
        self.on_sent: Callable[[], None] | None = None
        #: What each request says of the trace that it is part of; ``None``: nothing.
        self.traceparent: str | None = None
        #: Seconds that the server has to answer before ``on_sent`` is called, and then it is not; no effect under TLS.
        self.grace_s = 0.0

    @abstractmethod
    def load(self, payload: bytes, *, timeout_s: float) -> Fault | Aborted | None:
        """Get the model that the job's ``payload`` names into memory; ``None`` when it is there."""

    @abstractmethod
    def chat(
        self, payload: bytes, *, exec_timeout_s: float, stall_timeout_s: float, on_text: OnText | None = None
    ) -> Completion | Fault | Aborted:
        """Send ``payload``, a native chat without ``stream``, and read the answer to its end.

        Bounded by ``exec_timeout_s`` in all, and by ``stall_timeout_s`` for each wait for the next byte; until the
        answer's first text, by ``FIRST_TEXT_PATIENCE`` times that. ``on_text`` is called in this thread with each line
        of Ollama's form, as the server wrote it if it is one, and must not raise.
        """

    @abstractmethod
    def probe(self, timeout_s: float) -> Fault | None:
        """Ask something that costs the server nothing, and only look at the status; ``None`` when it answers."""

    @abstractmethod
    def survey(self, timeout_s: float) -> Survey | Fault:
        """Ask which models there are, and which are in memory. A server that has no such lists has no fault by that."""

    @property
    def text(self) -> str:
        """What ``chat`` has received of the answer's ``content``: all there is when it ends in a fault."""
        return self._assembly.text

    def abort(self) -> None:
        """Make the call in progress, and any later one, return ``Aborted`` at once; from any thread, any time.

        The connection is shut down, by which the upstream notices and stops generating. Only a resolver is waited for,
        no longer than ``connect_timeout_s``.
        """
        with self._lock:
            self._aborted.set()
            if self._watch is not None:
                self._watch.cut()

    def connect(self) -> Fault | Aborted | None:
        """Open the connection and send nothing; ``None`` when it is open."""
        deadline = monotonic() + self._connect_timeout_s
        outcome = Aborted() if self._aborted.is_set() else dial(self._origin, self._tls, deadline, self._watched)
        if self._aborted.is_set():
            if isinstance(outcome, socket.socket):
                outcome.close()
            return Aborted()
        if not isinstance(outcome, socket.socket):
            return outcome
        self._http.sock = self._sock = outcome
        self._response = None
        return None

    def close(self) -> None:
        """Close the connection; the call cannot be used again."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # The rest is what the kinds of upstream are written in.

    def _stream(self, path: str, body: bytes, bounds: Bounds, reading: Reading) -> Completion | Fault | Aborted:
        """POST ``body`` and assemble the answer, which comes line by line."""
        assembly, wording, on_text = reading.assembly, reading.wording, reading.on_text

        def read(response: HTTPResponse) -> Completion | Fault:
            if response.status != OK:
                return self._refusal(response, bounds)
            for line in lines(partial(response.read1, decode_content=False), LINE_LIMIT_B):
                native = fault.unreadable("a line without an end") if line is None else wording.take(line)
                if (problem := self._assemble(native, assembly, on_text)) is not None:
                    return problem
                if native and self._silence is not bounds.further:
                    self._hush(bounds.further)
                if assembly.done:
                    return assembly.finish()
            return self._assemble(wording.end(), assembly, on_text) or assembly.finish()

        return self._exchange("POST", path, body, bounds, read)

    def _hush(self, silence: Silence) -> None:
        """From now on this exchange may be silent for so long."""
        self._silence = silence
        # The answer may have come whole, and its socket been closed for that.
        with suppress(OSError):
            self._sock.settimeout(silence.limit_s)

    def _assemble(self, native: Sequence[bytes] | Fault, assembly: Assembly, on_text: OnText | None) -> Fault | None:
        if isinstance(native, Fault):
            return native
        for line in native:
            chunk = assembly.feed(line)
            if isinstance(chunk, Fault):
                return chunk
            # What the kernel had received can be read after an abort too, and need not be.
            if self._aborted.is_set():
                return fault.dropped(streaming=True)
            if on_text is not None:
                on_text(line)
        return None

    def _list(self, path: str, bounds: Bounds) -> bytes | Fault | None:
        """The body of ``GET path``, which lists models; ``None`` if the server has no such list."""

        def read(response: HTTPResponse) -> bytes | Fault | None:
            if response.status == OK:
                return self._whole(response)
            refusal = self._refusal(response, bounds)
            return None if response.status in NO_LIST else refusal

        outcome = self._exchange("GET", path, None, bounds, read)
        return fault.dropped(streaming=False) if isinstance(outcome, Aborted) else outcome

    @staticmethod
    def _whole(response: HTTPResponse) -> bytes | Fault:
        body = b""
        while data := response.read1(LIST_LIMIT_B, decode_content=False):
            body += data
            if len(body) > LIST_LIMIT_B:
                return fault.unreadable("a list of models without an end")
        return body

    def _answers(self, path: str, timeout_s: float) -> Fault | None:
        """Whether ``GET path`` is answered with 200 within ``timeout_s``; ``None`` when it is."""
        bounds = probe_bounds(timeout_s)

        def read(response: HTTPResponse) -> Fault | None:
            return None if response.status == OK else self._refusal(response, bounds)

        outcome = self._exchange("GET", path, None, bounds, read)
        return fault.dropped(streaming=False) if isinstance(outcome, Aborted) else outcome

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        bounds: Bounds,
        read: Callable[[HTTPResponse], _Answer | Fault],
    ) -> _Answer | Fault | Aborted:
        """One request, and what ``read`` makes of its answer; ``path`` comes after the origin's prefix."""
        if (unready := self._ready()) is not None:
            return unready
        watch: Watch | None = None
        self._response = None
        try:
            with self._watched(self._sock, bounds.deadline) as watch:
                self._response = self._send(method, path, body, bounds)
                outcome = read(self._response)
        except _BROKEN as error:
            outcome = _class_of(
                error, self._silence, streaming=self._response is not None and self._response.tell() > 0
            )
        if not isinstance(outcome, Fault):
            return outcome
        if self._aborted.is_set():
            return Aborted()
        # A socket that was shut down reads like one that the server closed, so the watch is asked before the fault is.
        return bounds.overdue if watch is not None and watch.fired else self._discreet(outcome)

    def _discreet(self, problem: Fault) -> Fault:
        """The fault without our credentials, which a line of the answer may have quoted."""
        return replace(problem, message=self._origin.concealed(problem.message.encode()).decode())

    def _send(self, method: str, path: str, body: bytes | None, bounds: Bounds) -> HTTPResponse:
        self._silence = bounds.first
        self._http.timeout = bounds.first.limit_s
        # A server may refuse a body without reading all of it; what it said is then there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._http.request(
                method,
                self._origin.prefix + path,
                body=body,
                headers=_HEADERS | self._origin.headers | trace_header(self.traceparent),
                preload_content=False,
                decode_content=False,
            )
        if self.on_sent is not None and not self._answers_at_once():
            self.on_sent()
        return self._http.getresponse()

    def _answers_at_once(self) -> bool:
        plain = not isinstance(self._sock, ssl.SSLSocket)  # what can be read there need not be an answer
        return self.grace_s > 0 and plain and wait_for_read(self._sock, self.grace_s)

    def _refusal(self, response: HTTPResponse, bounds: Bounds) -> Fault:
        """The fault of a status other than 200, with as much of its body as came in time."""
        text = self._excuse(response, bounds)
        return self._refused(response.status, text, retry_after=response.headers.get("Retry-After"))

    def _refused(self, status: int, text: str, *, retry_after: str | None) -> Fault:
        """The fault that a ``status`` other than 200 stands for; ``text`` is its body."""
        return fault.answered(status, text, retry_after=retry_after)

    def _excuse(self, response: HTTPResponse, bounds: Bounds) -> str:
        """The body of an error, as much of it as is worth waiting for."""
        body = b""
        with suppress(*_BROKEN), self._watched(self._sock, min(bounds.deadline, monotonic() + ERROR_LIMIT_S)):
            while len(body) < ERROR_LIMIT_B and (data := response.read1(ERROR_LIMIT_B, decode_content=False)):
                body += data
        # Before it is quoted, which cuts it: a part of a secret would not be known as one.
        return self._origin.concealed(body[:ERROR_LIMIT_B]).decode(errors="replace")

    def _ready(self) -> Fault | Aborted | None:
        if self._aborted.is_set():
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
                if self._aborted.is_set():
                    watch.cut()
            try:
                yield watch
            finally:
                with self._lock:
                    self._watch = outer


def _class_of(error: Exception, silence: Silence, *, streaming: bool) -> Fault:
    """The fault that an exception of the sockets, of ``http.client`` or of urllib3 stands for."""
    match error:
        case TimeoutError() | ReadTimeoutError():
            return silence.fault
        case OSError() | ProtocolError() | SSLError() | http.client.IncompleteRead():
            return fault.dropped(streaming=streaming)
        case _:
            return fault.unreadable("an answer that is not HTTP")
