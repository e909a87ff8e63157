"""An upstream or a receiver that costs as little as Python allows, in a process of its own: it is no bottleneck.

``python -m tests.bench.lean upstream|receiver [ports]`` prints its ports as a JSON array and serves until it is killed.
``GET /seen`` says what came, on the clock that all processes of a machine share; ``DELETE /seen`` forgets it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]

_NOW = "2026-01-01T00:00:00Z"
_STATS = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 1_000_000,
    "load_duration": 1_000,
    "prompt_eval_count": 8,
    "prompt_eval_duration": 1_000,
    "eval_count": 2,
    "eval_duration": 1_000,
}


def _json(body: Any, status: str = "200 OK") -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _part(content: str, **rest: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"model": "m", "created_at": _NOW, "message": message, "done": False} | rest


def _chunked(*lines: dict[str, Any]) -> bytes:
    parts = [json.dumps(line).encode() + b"\n" for line in lines]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


#: Answers made once: a load, a chat streamed and whole, and what a probe asks for.
_LOADED = _json(_part("", done=True, done_reason="load"))
_CHAT = _chunked(_part("Hi"), _part("", **_STATS))
_CHAT_WHOLE = _json(_part("Hi", **_STATS))
_ACCEPTED = _json(None, "204 No Content")
_PLAIN = {
    b"/api/version": _json({"version": "0.12.6"}),
    b"/api/tags": _json({"models": [{"name": "m", "model": "m"}]}),
    b"/api/ps": _json({"models": [{"name": "m", "model": "m"}]}),
    b"/api/show": _json({"details": {"family": "lean"}, "model_info": {}, "capabilities": ["completion"]}),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What came to a lean server: how many requests, and when the first and the last, monotonic seconds."""

    count: int
    first_s: float
    last_s: float

    @property
    def per_second(self) -> float:
        """The rate between the first and the last."""
        return (self.count - 1) / (self.last_s - self.first_s)


@dataclass
class _Tally:
    count: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def note(self) -> None:
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.count += 1


class _Connection(asyncio.Protocol):
    def __init__(self, tally: _Tally, *, upstream: bool) -> None:
        self._tally = tally
        self._upstream = upstream
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            whole = end + 4 + int(length or 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            method, path = head.split(b" ", 2)[:2]
            self._transport.write(self._answer(method, path, body))

    def _answer(self, method: bytes, path: bytes, body: bytes) -> bytes:
        if path == b"/seen":
            tally = self._tally
            if method == b"DELETE":
                tally.__init__()  # type: ignore[misc]  # as new
            return _json([tally.count, tally.first_s, tally.last_s])
        if path in _PLAIN:
            return _PLAIN[path]
        self._tally.note()
        if not self._upstream:
            return _ACCEPTED
        asked = json.loads(body)
        if not asked["messages"]:
            return _LOADED
        return _CHAT if asked.get("stream", True) else _CHAT_WHOLE


@dataclass
class Lean:
    """A lean server in a process of its own, from entry to exit."""

    kind: str
    origins: int = 1
    ports: list[int] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The first of its origins."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def urls(self) -> list[str]:
        """Where each origin takes webhooks."""
        return [f"http://127.0.0.1:{port}/hook" for port in self.ports]

    def seen(self, *, forget: bool = False) -> Seen:
        """What came since the start or since it was forgotten."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=30)
        try:
            connection.request("DELETE" if forget else "GET", "/seen")
            return Seen(*json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "tests.bench.lean", self.kind, str(self.origins)]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


async def _serve(kind: str, origins: int) -> None:
    tally, loop = _Tally(), asyncio.get_running_loop()

    def connected() -> _Connection:
        return _Connection(tally, upstream=kind == "upstream")

    servers = [await loop.create_server(connected, "127.0.0.1", 0, backlog=1024) for _ in range(origins)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))


if __name__ == "__main__":
    main()
