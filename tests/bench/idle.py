"""Milliseconds from a submission to the upstream's first call when nothing else is to do, and of a message alone."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import peers
from tests.bench.clients import SMALL
from tests.bench.figures import Row, Target
from tests.bench.latency import plain, waking
from tests.bench.lean import Lean
from tests.bench.measured import Measured, measured
from tests.valkey import ValkeyServer

GROUP = "Latency when idle"
#: Seconds before each: with four sides in turns every one has been idle for over a second.
_PAUSE_S = 0.3


def rows(place: Path, times: int, *, with_peers: bool) -> Iterator[Row]:
    """All sides take turns, one job or message each."""
    with ExitStack() as exits:
        upstream = exits.enter_context(Lean("upstream"))
        stack = exits.enter_context(measured(place / "idle", upstream))
        valkey = exits.enter_context(ValkeyServer(place / "idle-valkey"))
        other = exits.enter_context(ValkeyServer(place / "idle-valkey2"))
        message = exits.enter_context(waking(valkey.url))
        dramatiq = exits.enter_context(plain(other.url))
        asked: dict[str, Callable[[], float]] = {
            "foreman": lambda: _submitted(stack, upstream),
            "floor": lambda: _direct(upstream),
            "Dramatiq": dramatiq,
            "message": message,
        }
        if with_peers:
            hoglah = exits.enter_context(peers.hoglah(place / "hoglah-idle"))
            asked["hoglah"] = lambda: float(hoglah.ask("one"))
        for once in asked.values():
            once()
        sides: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(times):
            for name, once in asked.items():
                time.sleep(_PAUSE_S)
                sides[name].append(once())
    ours = sides.pop("message")
    note = (
        "The floor is the same call made directly; Dramatiq's figure is its message alone, without HTTP or a database."
    )
    yield Row(GROUP, "submission to the upstream's call, p50", "ms", sides, [Target("≤", 5)], note, paired=False)
    yield Row(GROUP, "message to a worker, p50", "ms", {"foreman": ours, "Dramatiq": sides["Dramatiq"]}, paired=False)


def _submitted(stack: Measured, upstream: Lean) -> float:
    return _first_call(upstream, stack.port, "/jobs", SMALL, calls=2)


def _direct(upstream: Lean) -> float:
    return _first_call(upstream, upstream.ports[0], "/api/chat", {"model": "m", "messages": []}, calls=1)


def _first_call(upstream: Lean, port: int, path: str, body: object, calls: int) -> float:
    """From just before the bytes are sent; returns when the upstream has had all ``calls``."""
    upstream.seen(forget=True)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    sent = time.monotonic()
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()
    deadline = time.monotonic() + 30
    while (seen := upstream.seen()).count < calls:
        assert time.monotonic() < deadline, "the upstream was not called"
        time.sleep(0.005)
    return (seen.first_s - sent) * 1000
