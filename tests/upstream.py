"""A scriptable Ollama on loopback: behaves like the real one until told otherwise; ``upstream_faults`` has the ways.

By hand: ``python tests/upstream.py --port 11434 --tokens 32 --delay-ms 20 --load-delay-ms 500``.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

#: What a behaviour is: it answers one call, in its own way.
Behaviour = Callable[["Exchange"], None]

#: Seconds between two looks at whether a client has hung up.
LOOK_S = 0.01


@dataclass(slots=True)
class Received:
    """One call as it arrived; ``at`` is monotonic seconds, ``hung_up`` whether the client left before the end."""

    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]
    peer: tuple[str, int]
    at: float
    hung_up: bool = False
    #: Whether its slot is free: from when the client may come to know that, just before the last bytes go out.
    over: bool = False
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_load(self) -> bool:
        """Whether this only loads or unloads a model."""
        return self.path == "/api/chat" and not self.body.get("messages")

    @property
    def is_chat(self) -> bool:
        """Whether this is a real chat."""
        return self.path == "/api/chat" and bool(self.body.get("messages"))


class HungUp(Exception):
    """The client, or ``FakeOllama.stop``, closed the connection."""


class Exchange:
    """One call being answered; what behaviours are written in."""

    def __init__(self, fake: FakeOllama, handler: _Handler, received: Received) -> None:
        self.fake = fake
        self.received = received
        self._handler = handler

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """A whole answer; ``body`` is bytes, or anything JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        self.fake._is_over(self.received)
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.raw(head.encode() + b"\r\n" + data)

    def begin(self) -> None:
        """The head of a stream, chunked as Ollama's."""
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        """A part of a stream as one chunk."""
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def line(self, value: Any) -> None:
        """A line of a stream."""
        if isinstance(value, dict) and value.get("done") is True:
            self.fake._is_over(self.received)
        self.chunk(json.dumps(value).encode() + b"\n")

    def end(self) -> None:
        """The end of a stream, in good order."""
        self.raw(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        """Any bytes."""
        try:
            self._handler.connection.sendall(data)
        except OSError as error:
            raise HungUp from error

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        """Say nothing for a time, or ``until`` something is set, as long as the client listens."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0 and not (until is not None and until.is_set()):
            if select.select([self._handler.connection], [], [], min(left_s, LOOK_S))[0]:
                self._check()

    def reset(self) -> None:
        """Drop the connection with a RST, as a crashed process does."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the connection after this answer."""
        self._handler.close_connection = True

    def _check(self) -> None:
        if self.fake.tls is not None:
            # Cannot be peeked into, but a client that has asked and got no answer has nothing more to say.
            raise HungUp
        try:
            if self._handler.connection.recv(1, socket.MSG_PEEK) == b"":
                raise HungUp
        except OSError as error:
            raise HungUp from error

    def part(self, message: dict[str, Any], **rest: Any) -> dict[str, Any]:
        """A line in Ollama's shape."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        whole = {"role": "assistant", "content": ""} | message
        return {"model": self.received.body.get("model"), "created_at": now, "message": whole, "done": False} | rest


def stats(tokens: int) -> dict[str, Any]:
    """The keys that only the last line has, with numbers easily told apart."""
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": 5_191_566_416,
        "load_duration": 2_154_458,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 383_809_000,
        "eval_count": tokens,
        "eval_duration": 4_799_921_000,
    }


def reply(
    *tokens: str, delay_s: float = 0.0, thinking: Iterable[str] = (), tool_calls: Iterable[dict[str, Any]] = ()
) -> Behaviour:
    """A good answer: thoughts, then text, then tool calls, a line each, ``delay_s`` before every line."""
    messages: list[dict[str, Any]] = [{"thinking": text} for text in thinking]
    messages += [{"content": text} for text in tokens]
    messages += [{"tool_calls": [call]} for call in tool_calls]

    def behave(exchange: Exchange) -> None:
        if exchange.received.body.get("stream") is False:
            exchange.pause(delay_s * len(messages))
            exchange.answer(200, exchange.part({"content": "".join(tokens)}, **stats(len(tokens))))
            return
        say(exchange, messages, delay_s)
        exchange.line(exchange.part({}, **stats(len(messages))))
        exchange.end()

    return behave


def generate(*tokens: str) -> Behaviour:
    """A good answer of ``/api/generate``, which has text where a chat has messages."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        for token in tokens:
            exchange.line({"model": exchange.received.body.get("model"), "response": token, "done": False})
        exchange.line({"model": exchange.received.body.get("model"), "response": "", **stats(len(tokens))})
        exchange.end()

    return behave


def say(exchange: Exchange, messages: Iterable[dict[str, Any]], delay_s: float) -> None:
    """Each of ``messages`` as a line, and no end. The head goes with the first: Ollama has nothing to say before."""
    begun = False
    for message in messages:
        exchange.pause(delay_s)
        if not begun:
            exchange.begin()
        begun = True
        exchange.line(exchange.part(message))
    if not begun:
        exchange.begin()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeOllama) -> None:
        self.fake = fake
        super().__init__((fake.address, fake.port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that break off are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.fake = cast("_Server", self.server).fake
        if self.fake.tls is not None:
            self.request = self.fake.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.fake._opened(self.connection)

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.connection.close()
        self.fake._closed(self.connection)  # last: whoever waits for it looks at the other end

    def do_GET(self) -> None:
        self._receive(b"")

    def do_POST(self) -> None:
        self._receive(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _receive(self, raw_body: bytes) -> None:
        try:
            # What is asked with POST has a body, and Ollama says so too.
            body = json.loads(raw_body if self.command == "POST" else b"{}")
        except (ValueError, RecursionError):
            body = None
        is_object = isinstance(body, dict)
        body = body if is_object else {}
        path = self.path.partition("?")[0]
        received = Received(path, dict(self.headers), raw_body, body, self.client_address, time.monotonic())
        try:
            if is_object:
                self.fake._answer(Exchange(self.fake, self, received))
            else:
                Exchange(self.fake, self, received).answer(400, {"error": "cannot unmarshal into an object"})
        except HungUp:
            received.hung_up = True
            self.close_connection = True
        finally:
            received.ended.set()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name is the standard library's
        """Say nothing."""


class FakeOllama:
    """The server, as a context manager. ``calls`` holds what came in; ``next`` says how the next chats are answered.

    ``connections`` are open now; ``in_flight`` chats and loads are being answered, ``max_in_flight`` at most until now.
    ``models`` are those it knows, ``None`` for any; ``loaded`` those in memory. Loading takes ``load_delay_s``. With
    ``tls`` it speaks that.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        models: set[str] | None = None,
        load_delay_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.address = address
        self.port = port
        self.tls = tls
        self.models = models
        self.load_delay_s = load_delay_s
        self.default: Behaviour = reply("Hello", ", ", "world", "!")
        self.calls: list[Received] = []
        self.connections: set[socket.socket] = set()
        self.loaded: dict[str, float] = {}
        self.max_in_flight = 0
        self.in_flight = 0
        self._changed = threading.Condition()
        self._chats: deque[Behaviour] = deque()
        self._loads: deque[Behaviour] = deque()
        self._generates: deque[Behaviour] = deque()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens, or listened before ``stop``."""
        return f"http{'s' if self.tls else ''}://{self.address}:{self.port}"

    @property
    def chats(self) -> list[Received]:
        """The real chats so far."""
        return [call for call in self.calls if call.is_chat]

    @property
    def loads(self) -> list[Received]:
        """The calls so far that only load or unload."""
        return [call for call in self.calls if call.is_load]

    def to(self, path: str) -> list[Received]:
        """The calls of one path so far; of those that foreman makes by itself, to look, any may come at any time."""
        return [call for call in self.calls if call.path == path]

    def next(self, *behaviours: Behaviour) -> None:
        """Answer the next real chats so, in order; then the ``default`` again."""
        self._chats.extend(behaviours)

    def next_load(self, *behaviours: Behaviour) -> None:
        """Answer the next calls with empty messages so, in order; then as Ollama does."""
        self._loads.extend(behaviours)

    def next_generate(self, *behaviours: Behaviour) -> None:
        """Answer the next calls of ``/api/generate`` so, in order; then with one word."""
        self._generates.extend(behaviours)

    def forget(self) -> None:
        """Nothing is to be answered in a way of its own any more."""
        self._chats.clear()
        self._loads.clear()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until ``condition`` holds; looked at whenever a call comes in or ends."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), f"not so within {timeout_s} s; calls: {self.calls}"

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on and break those there are: the upstream is down."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None
        with self._changed:
            for connection in self.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self.connections, timeout=5.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _opened(self, connection: socket.socket) -> None:
        with self._changed:
            self.connections.add(connection)
            self._changed.notify_all()

    def _closed(self, connection: socket.socket) -> None:
        with self._changed:
            self.connections.discard(connection)
            self._changed.notify_all()

    def _answer(self, exchange: Exchange) -> None:
        received = exchange.received
        with self._changed:
            self.calls.append(received)
            self.in_flight += received.is_chat or received.is_load
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            self._changed.notify_all()
        try:
            self._route(exchange)
        finally:
            self._is_over(received)
            with self._changed:
                self._changed.notify_all()

    def _is_over(self, received: Received) -> None:
        with self._changed:
            self.in_flight -= not received.over and (received.is_chat or received.is_load)
            received.over = True

    def _route(self, exchange: Exchange) -> None:
        received = exchange.received
        model = received.body.get("model")
        match received.path:
            case "/api/chat" if self.models is not None and model not in self.models:
                exchange.answer(404, {"error": f"model '{model}' not found"})
            case "/api/chat" if received.is_load:
                (self._loads.popleft() if self._loads else self._load)(exchange)
            case "/api/chat":
                self._into_memory(exchange)
                (self._chats.popleft() if self._chats else self.default)(exchange)
            case "/api/generate":
                (self._generates.popleft() if self._generates else generate("Hello"))(exchange)
            case path if path in (plain := self._plain_answers()):
                exchange.answer(200, plain[path])
            case _:
                exchange.answer(404, b"404 page not found", {"Content-Type": "text/plain"})

    def _plain_answers(self) -> dict[str, Any]:
        """What is answered to questions, by their path."""
        return {
            "/api/version": {"version": "0.12.6"},
            "/api/tags": {"models": [{"name": name, "model": name} for name in sorted(self.models or ())]},
            "/api/ps": {"models": [{"name": name, "model": name} for name in sorted(self.loaded)]},
            "/api/show": {"details": {"family": "fake"}, "model_info": {}, "capabilities": ["completion"]},
            "/api/embed": {"model": "m", "embeddings": [[0.25, -0.5]]},
            "/api/embeddings": {"embedding": [0.25, -0.5]},
        }

    def _load(self, exchange: Exchange) -> None:
        model = str(exchange.received.body.get("model"))
        if exchange.received.body.get("keep_alive") in (0, "0", "0s"):
            self.loaded.pop(model, None)
            exchange.answer(200, exchange.part({}, done_reason="unload", done=True))
            return
        self._into_memory(exchange)
        exchange.answer(200, exchange.part({}, done_reason="load", done=True))

    def _into_memory(self, exchange: Exchange) -> None:
        model = str(exchange.received.body.get("model"))
        if model not in self.loaded:
            exchange.pause(self.load_delay_s)
            self.loaded[model] = time.monotonic()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A fake Ollama for tests and benchmarks.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=16, help="lines of an answer")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before each of them")
    parser.add_argument("--load-delay-ms", type=float, default=0.0, help="for a model that is not in memory")
    asked = parser.parse_args()
    fake = FakeOllama(asked.port, load_delay_s=asked.load_delay_ms / 1000)
    fake.default = reply(*(f"token{index} " for index in range(asked.tokens)), delay_s=asked.delay_ms / 1000)
    with fake:
        print(fake.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
