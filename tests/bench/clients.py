"""Many keep-alive clients that ask as fast as they are answered, on bare sockets in a process of its own.

A client that costs as much as the server would measure itself; these take some 20 µs a request, all of them together in
one thread. ``python -m tests.bench.clients`` reads what to ask as JSON and prints what came of it.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: A job that says next to nothing.
SMALL: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

#: Seconds that an answer may take; a load that meets it measures nothing.
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask: ``body`` as JSON, by so many clients at once, for ``seconds`` or until ``requests`` are answered."""

    port: int
    body: dict[str, Any] = field(default_factory=lambda: SMALL)
    path: str = "/jobs"
    clients: int = 32
    seconds: float | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered: how many requests in how many seconds, and milliseconds that each took, sorted."""

    answers: int
    seconds: float
    waits_ms: list[float]

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def ask(load: Load, status: int = 202) -> Told:
    """Put ``load`` on a server from a process of its own; every answer must have ``status``."""
    argv = [sys.executable, "-m", "tests.bench.clients"]
    ended = subprocess.run(argv, cwd=ROOT, input=json.dumps(asdict(load)), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said.pop("statuses") == {str(status): said["answers"]}, ended.stdout[-1000:]
    return Told(**said)


class _Client:
    """One client: a request under way, and what has come of its answer. Connects again only if the server hangs up."""

    def __init__(self, selector: selectors.BaseSelector, port: int) -> None:
        self.sent_s = 0.0
        self._selector = selector
        self._port = port
        self._got = b""
        self._connect()

    def send(self, request: bytes) -> None:
        if b"\r\nConnection: close" in self._got:
            self._selector.unregister(self.sock)
            self.sock.close()
            self._connect()
        self._got = b""
        self.sent_s = time.perf_counter()
        self.sock.sendall(request)

    def status(self) -> str | None:
        """The answer's, once the whole of it is there."""
        part = self.sock.recv(65_536)
        assert part, "the server hung up"
        self._got += part
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = self._got[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return self._got[9:12].decode() if len(self._got) >= end + 4 + int(length) else None

    def _connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self.sock, selectors.EVENT_READ, self)


def _run(load: Load) -> dict[str, Any]:
    data = json.dumps(load.body).encode()
    head = f"POST {load.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    request = f"{head}\r\n\r\n".encode() + data
    selector = selectors.DefaultSelector()
    clients = [_Client(selector, load.port) for _ in range(load.clients)]
    waits: list[float] = []
    statuses: Counter[str] = Counter()
    began = time.perf_counter()
    ends = began + load.seconds if load.seconds is not None else float("inf")
    most = load.requests if load.requests is not None else sys.maxsize
    sent = 0
    for client in clients[:most]:
        client.send(request)
        sent += 1
    while len(waits) < sent:
        for client, status in _answered(selector):
            now = time.perf_counter()
            waits.append((now - client.sent_s) * 1000)
            statuses[status] += 1
            if sent < most and now < ends:
                client.send(request)
                sent += 1
    seconds = time.perf_counter() - began
    return {"answers": len(waits), "seconds": seconds, "waits_ms": sorted(waits), "statuses": statuses}


def _answered(selector: selectors.BaseSelector) -> Iterator[tuple[_Client, str]]:
    """The clients whose answer is there now, and its status."""
    ready = selector.select(_PATIENCE_S)
    assert ready, "no answer came"
    for key, _ in ready:
        status = key.data.status()
        if status is not None:
            yield key.data, status


def main() -> None:
    """Ask, and print what came of it."""
    json.dump(_run(Load(**json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
