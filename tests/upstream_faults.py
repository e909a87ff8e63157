"""The ways a model server misbehaves, each seen in the wild: behaviours for ``FakeOllama.next`` and ``next_load``."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from tests.upstream import Behaviour, Exchange, say

#: Seconds a behaviour that never ends lasts at most, so that no test leaves a thread behind for good.
NEVER_S = 60.0


def after(tokens: int, then: Behaviour, delay_s: float = 0.0) -> Behaviour:
    """``tokens`` lines of a good answer, and then something else."""

    def behave(exchange: Exchange) -> None:
        say(exchange, [{"content": f"t{index} "} for index in range(tokens)], delay_s)
        then(exchange)

    return behave


def status(code: int, error: Any = "it failed", **headers: str) -> Behaviour:
    """An error; ``Retry_After="3"`` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = error if isinstance(error, bytes) else {"error": error}
    return lambda exchange: exchange.answer(code, body, named)


def error_line(text: Any) -> Behaviour:
    """What Ollama sends when it fails after the 200 is out; after ``after``."""

    def behave(exchange: Exchange) -> None:
        exchange.line({"error": text})
        exchange.end()

    return behave


def garbage(data: bytes) -> Behaviour:
    """Bytes in place of a line; after ``after``."""

    def behave(exchange: Exchange) -> None:
        exchange.chunk(data)
        exchange.end()

    return behave


def raw(data: bytes) -> Behaviour:
    """Bytes in place of the whole answer, and the end of the connection."""

    def behave(exchange: Exchange) -> None:
        exchange.raw(data)
        exchange.close()

    return behave


def reset(exchange: Exchange) -> None:
    """The connection breaks here."""
    exchange.reset()


def end(exchange: Exchange) -> None:
    """The stream ends here, in good order, and without ``"done": true``; after ``after``."""
    exchange.end()


def hang(exchange: Exchange) -> None:
    """Nothing more is said."""
    exchange.pause(NEVER_S)


def held(until: threading.Event, then: Behaviour | None = None) -> Behaviour:
    """Nothing is said ``until`` the event is set."""

    def behave(exchange: Exchange) -> None:
        exchange.pause(NEVER_S, until)
        (then or exchange.fake.default)(exchange)

    return behave


def drip(data: bytes, every_s: float) -> Behaviour:
    """``data``, a byte at a time, again and again: alive as far as a socket timeout can tell."""

    def behave(exchange: Exchange) -> None:
        deadline = time.monotonic() + NEVER_S
        for byte in itertools.cycle(data):
            exchange.raw(bytes([byte]))
            exchange.pause(every_s)
            if time.monotonic() > deadline:
                return

    return behave
