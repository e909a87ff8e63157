"""A receiver in Python's standard library: WEBHOOK_SECRET=… INBOX=inbox.db python3 receiver.py 9000."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from inbox import Inbox

#: Bytes; foreman's own limit for what comes along is 256 KiB, unless its operator has set another.
LARGEST_B = 16 * 2**20
#: Seconds that the time of a try may be from now.
TOLERANCE_S = 300


def key(secret: str) -> bytes:
    """The bytes that sign: what follows ``whsec_`` decoded from Base64, else the text itself."""
    text = secret.removeprefix("whsec_")
    return secret.encode() if text == secret else base64.b64decode(text + "=" * (-len(text) % 4))


#: Several, separated by commas, while one is being replaced by another.
KEYS = [key(secret.strip()) for secret in os.environ["WEBHOOK_SECRET"].split(",") if secret.strip()]
INBOX = Inbox(os.environ["INBOX"])


def flaw(headers: Message, body: bytes) -> str | None:
    """What is wrong with a delivery; ``None``: it is genuine."""
    seconds = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id')}.{seconds}.".encode() + body
    wanted = ["v1," + base64.b64encode(hmac.digest(each, signed, "sha256")).decode() for each in KEYS]
    if not any_same(headers.get("webhook-signature", "").split(), wanted):
        return "webhook-signature is wrong"
    wanted = ["sha256=" + hmac.new(each, body, hashlib.sha256).hexdigest() for each in KEYS]
    if not any_same(headers.get("X-Foreman-Signature", "").split(","), wanted):
        return "X-Foreman-Signature is wrong"
    if not seconds.isdigit() or abs(time.time() - int(seconds)) > TOLERANCE_S:
        return "it is too old, or one of the clocks is wrong"
    return None


def any_same(given: list[str], wanted: list[str]) -> bool:
    """Whether one of them is one of those, in a time that does not tell how much of it is right."""
    return any(hmac.compare_digest(each.strip().encode(), right.encode()) for each in given for right in wanted)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    #: Seconds without a byte after which a sender is left.
    timeout = 10

    def do_POST(self) -> None:
        """Take one delivery: believe it, record it, and only then say so."""
        length_b = self.headers.get("Content-Length", "")
        if not length_b.isdigit() or int(length_b) > LARGEST_B:
            self.answer(413)
            return
        body = self.rfile.read(int(length_b))
        wrong = flaw(self.headers, body)
        if wrong is not None:
            print("refused:", wrong, file=sys.stderr)
            self.answer(401)
            return
        event: dict[str, Any] = json.loads(body)
        job = (event["job_id"], event["state"], event["sequence"]) if "job_id" in event else None
        if INBOX.keep(event["id"], body, job):
            print(event["id"], flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        """An answer without a body."""
        self.send_response(status)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: what matters is printed."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
