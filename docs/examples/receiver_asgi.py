"""A receiver for any ASGI server: WEBHOOK_SECRET=… INBOX=inbox.db gunicorn -k asgi -b :9000 receiver_asgi:app."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from inbox import Inbox

from foreman.receiver import JobEvent, NotBelieved, verify

SECRETS = os.environ["WEBHOOK_SECRET"]
INBOX = Inbox(os.environ["INBOX"])
#: Bytes; foreman's own limit for what comes along is 256 KiB, unless its operator has set another.
LARGEST_B = 16 * 2**20

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Take one delivery, or the news that the server starts and stops."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    body = await whole(receive)
    # In a thread, since a disk may take its time.
    status = 413 if body is None else await asyncio.to_thread(take, scope["headers"], body)
    headers = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body"})


def take(headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    """Believe what is genuine and record it; the status to answer."""
    try:
        event = verify(headers, body, SECRETS)
    except NotBelieved as error:
        print("refused:", error, file=sys.stderr)
        return 401
    INBOX.keep(event.id, body, (event.job_id, event.state, event.sequence) if isinstance(event, JobEvent) else None)
    return 204


async def whole(receive: Receive) -> bytes | None:
    """The body; ``None``: it is too long, or its sender has gone."""
    body = b""
    while len(body) <= LARGEST_B:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        body += piece
        if not message.get("more_body", False):
            return body
    return None


async def live(receive: Receive, send: Send) -> None:
    """Say yes to the server's start and stop."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
