"""A webhook receiver as somebody would write one, in the standard library: it checks both signatures, then believes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self


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
        handler = type("Handler", (_Handler,), {"deliveries": self.deliveries, "key": key(secret)})
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


def key(secret: str) -> bytes:
    """The bytes that sign: what follows ``whsec_`` decoded from base64, else the secret itself."""
    return base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()


def is_signed(key: bytes, headers: Message, body: bytes) -> bool:
    """Whether both signatures of a delivery are right: of the body, and of Standard Webhooks' id, time and body.

    Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Verifying signatures".
    """
    plain = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    standard = "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return any(
        hmac.compare_digest(plain, given.strip()) for given in headers.get("X-Foreman-Signature", "").split(",")
    ) and any(hmac.compare_digest(standard, given) for given in headers.get("webhook-signature", "").split())


class _Handler(BaseHTTPRequestHandler):
    deliveries: ClassVar[queue.SimpleQueue[Delivery]]
    key: ClassVar[bytes]

    def do_POST(self) -> None:
        """Take one delivery."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        dropped = self.path == "/dropped"
        signed = is_signed(self.key, self.headers, body)
        attempt = int(self.headers["X-Foreman-Attempt"])
        # Answered before it is shown: a sender does not wait for what a receiver does with it.
        self.send_response(503 if dropped else 204 if signed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.deliveries.put(Delivery(json.loads(body), attempt, signed, dropped))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 -- the base class's signature
        """Say nothing: what is delivered is shown by who asked for it."""
