"""A webhook receiver on loopback: a real HTTP server that keeps what it got and answers as it is told."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import Any, Self

CERTIFICATE = Path(__file__).parent / "data" / "loopback.pem"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    path: str
    #: Looked up in any case of letters.
    headers: Message
    body: bytes
    #: Seconds since the epoch.
    at: float = field(default_factory=time)

    @property
    def json(self) -> Any:
        """The body parsed."""
        return json.loads(self.body)


#: Status, headers and body.
Reply = tuple[int, Mapping[str, str], bytes]
Answer = Callable[[Received], Reply]


def accept(_request: Received) -> Reply:
    """``200`` to everything."""
    return 200, {}, b"ok"


def always(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
    """The same reply to everything."""
    return lambda _request: (status, headers or {}, body)


def fail_first(count: int, status: int = 500, headers: Mapping[str, str] | None = None) -> Answer:
    """``status`` to the first ``count`` requests, ``200`` from then on."""
    left = iter(range(count))
    lock = threading.Lock()

    def answer(request: Received) -> Reply:
        with lock:
            fails = next(left, None) is not None
        return (status, headers or {}, b"not now") if fails else accept(request)

    return answer


class Receiver:
    """Serves while the ``with`` block lasts. ``answer`` may be replaced at any time, and may block."""

    def __init__(
        self, answer: Answer = accept, *, port: int = 0, tls: bool = False, address: str = "127.0.0.1"
    ) -> None:
        self.address = address
        self.answer = answer
        self._requests: list[Received] = []
        self._changed = threading.Condition()
        self._server = _Server((address, port), _handler(self))
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.tls = server_tls()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where events are to be sent."""
        return f"{self._scheme}://{self.address}:{self.port}/hook"

    @property
    def requests(self) -> list[Received]:
        """What came in so far, in the order in which it was read."""
        with self._changed:
            return list(self._requests)

    @property
    def events(self) -> list[Any]:
        """The bodies of ``requests``, parsed."""
        return [request.json for request in self.requests]

    def wait_for(self, condition: int | Callable[[Sequence[Received]], bool], timeout_s: float = 60) -> list[Received]:
        """What came in, once that is ``condition`` requests or more, or ``condition(requests)`` holds.

        Raises: AssertionError, which says what did come in, if it takes longer than ``timeout_s``.
        """
        met = (lambda got: len(got) >= condition) if isinstance(condition, int) else condition
        deadline = monotonic() + timeout_s
        with self._changed:
            while not met(self._requests):
                if not self._changed.wait(deadline - monotonic()):
                    got = [request.body[:200] for request in self._requests]
                    raise AssertionError(f"not within {timeout_s} s; {len(got)} requests came: {got}")
            return list(self._requests)

    def forget(self) -> None:
        """What came in so far never did."""
        with self._changed:
            self._requests.clear()

    def take(self, request: Received) -> Reply:
        """Keep a request and answer it."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        return self.answer(request)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake belongs to the connection's own thread: one slow client must not hold up the others.
        with self.tls.wrap_socket(request, server_side=True) if self.tls else request as sock:
            super().finish_request(sock, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a sender that hung up is no news
            super().handle_error(request, client_address)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, answer = receiver.take(Received(self.path, self.headers, body))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            return

    return Handler


def server_tls() -> ssl.SSLContext:
    """For a server on loopback: its certificate names ``localhost``, ``hooks.example.com`` and ``127.0.0.1``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls() -> ssl.SSLContext:
    """For a client that trusts that certificate and no other."""
    return ssl.create_default_context(cafile=CERTIFICATE)
