"""A server on loopback that gives the answers of a script, one to each request, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Said:
    """An answer; ``length_b`` is what it claims to have where that is not so: then the connection breaks."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length_b: int | None = None


def as_json(value: Any, status: int = 200, **headers: str) -> Said:
    """``value`` as JSON; ``Retry_After`` becomes ``Retry-After``."""
    return Said(status, json.dumps(value).encode(), {name.replace("_", "-"): text for name, text in headers.items()})


def problem(status: int, kind: str, **more: Any) -> Said:
    """An error answer of foreman's."""
    body = {"type": f"urn:foreman:problem:{kind}", "title": "A title", "status": status, "detail": "A detail."} | more
    return as_json(body, status)


#: The connection ends without an answer.
HANGS_UP = Said(status=0)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; ``at_s`` in monotonic seconds."""

    method: str
    path: str
    headers: Message
    body: bytes
    at_s: float = field(default_factory=monotonic)


class Scripted:
    """Serves while the ``with`` block lasts; the last answer of ``script`` is given again and again."""

    def __init__(self, script: Iterable[Said]) -> None:
        self._script = list(script)
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, asked: Asked) -> Said:
        """Keep the request, and say what comes next."""
        with self._lock:
            self.asked.append(asked)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """HTTP/1.0: each request has a connection of its own."""

        timeout = 30

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = server.answer(Asked(self.command, self.path, self.headers, body))
            if said.status == 0:
                return
            self.send_response(said.status)
            length_b = len(said.body) if said.length_b is None else said.length_b
            for name, value in {"Content-Length": str(length_b), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  the base class's names

        def log_message(self, *args: Any) -> None:
            return

    return Handler
