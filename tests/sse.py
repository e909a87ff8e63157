"""Server-sent events as a browser reads them, as far as foreman writes them; from an answer, or as they come."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Sent:
    """One event; ``id`` is ``None`` where it has none, and the last one counts."""

    id: str | None
    type: str
    data: Any


def events(text: str) -> list[Sent]:
    """The events of a stream or of a part of it that ends with one."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(Sent(fields.get("id"), fields["event"], json.loads(fields["data"])))
    return found


def shown(sent: list[Sent]) -> list[str]:
    """What a person would see: states by name, text as it is, the rest by type."""
    return [_shown(each) for each in sent]


def _shown(each: Sent) -> str:
    match each.type:
        case "state":
            return str(each.data["state"]).upper()
        case "text":
            return str(each.data["message"]["content"])
        case _:
            return each.type


class Following:
    """A follower on a real connection, read by a thread of its own; ``with`` ends it."""

    def __init__(self, port: int, job_id: str, after: str | None = None) -> None:
        self.events: list[Sent] = []
        self.ended = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
        self._connection.request("GET", f"/jobs/{job_id}/events", headers=headers)
        self.answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        block = b""
        try:
            for line in iter(self.answer.readline, b""):
                block += line
                if line == b"\n":
                    self.events += events(block.decode())
                    block = b""
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # broken off, from this side or the other
        finally:
            self.ended.set()

    def close(self) -> None:
        """Hang up."""
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self.ended.wait(60)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
