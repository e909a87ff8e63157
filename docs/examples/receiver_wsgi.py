"""A receiver for any WSGI server: WEBHOOK_SECRET=… INBOX=inbox.db gunicorn -b 127.0.0.1:9000 receiver_wsgi:app."""

from __future__ import annotations

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from inbox import Inbox

from foreman.receiver import JobEvent, NotBelieved, verify

SECRETS = os.environ["WEBHOOK_SECRET"]
INBOX = Inbox(os.environ["INBOX"])
#: Bytes; foreman's own limit for what comes along is 256 KiB, unless its operator has set another.
LARGEST_B = 16 * 2**20


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Take one delivery."""
    length_b = environ.get("CONTENT_LENGTH") or ""
    if not length_b.isdigit() or int(length_b) > LARGEST_B:
        return answer(start_response, "413 Content Too Large")
    body = environ["wsgi.input"].read(int(length_b))
    headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    try:
        event = verify(headers, body, SECRETS)
    except NotBelieved as error:
        print("refused:", error, file=environ["wsgi.errors"])
        return answer(start_response, "401 Unauthorized")
    INBOX.keep(event.id, body, (event.job_id, event.state, event.sequence) if isinstance(event, JobEvent) else None)
    return answer(start_response, "204 No Content")


def answer(start_response: StartResponse, status: str) -> list[bytes]:
    """An answer without a body."""
    start_response(status, [] if status.startswith("204") else [("Content-Length", "0")])
    return []
