"""A webhook receiver as somebody would write one: the standard library's server, and both signatures checked."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from foreman.receiver import NotBelieved, verify


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to the receiver. ``event`` is the decoded body; ``dropped``: it was answered 503 and forgotten."""

    event: dict[str, Any]
    attempt: int
    is_signed: bool
    dropped: bool


class Receiver:
    """Listens on a loopback port while the ``with`` block lasts; ``/hook`` accepts, ``/dropped`` never does."""

    def __init__(self, secret: str) -> None:
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        handler = type("Handler", (_Handler,), {"deliveries": self.deliveries, "secret": secret})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, path: str) -> str:
        """The address of ``path`` here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def is_genuine(headers: Message, body: bytes, secret: str) -> bool:
    """Whether a delivery has both signatures, and both are right."""
    try:
        verify(headers, body, secret)
    except NotBelieved:
        return False
    return "X-Foreman-Signature" in headers and "webhook-signature" in headers


class _Handler(BaseHTTPRequestHandler):
    deliveries: ClassVar[queue.SimpleQueue[Delivery]]
    secret: ClassVar[str]

    def do_POST(self) -> None:
        """Take one delivery."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        dropped = self.path == "/dropped"
        signed = is_genuine(self.headers, body, self.secret)
        attempt = int(self.headers["X-Foreman-Attempt"])
        # Answered before it is shown: a sender does not wait for what a receiver does with it.
        self.send_response(503 if dropped else 204 if signed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.deliveries.put(Delivery(json.loads(body), attempt, signed, dropped))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 -- the base class's signature
        """Say nothing: what is delivered is shown by who asked for it."""
