"""What a chat through foreman costs over the same call made to the upstream directly, beside LiteLLM's proxy.

All are asked in turn, so that whatever else the machine does falls on all alike.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import peers
from tests.bench.clients import SMALL
from tests.bench.figures import Row, Target
from tests.bench.lean import Lean
from tests.bench.measured import measured

GROUP = "Synchronous calls"
#: Seconds before each call, so that it finds everything idle.
_PAUSE_S = 0.1
#: A streamed chat in each one's own tongue.
_CHAT, _COMPLETIONS = ("/api/chat", SMALL), ("/v1/chat/completions", SMALL | {"stream": True})


@dataclass(frozen=True, slots=True)
class Timed:
    """One streamed chat, milliseconds from just before its request is sent."""

    first_line_ms: float
    whole_ms: float


def rows(place: Path, times: int, *, with_peers: bool) -> Iterator[Row]:
    """What each side takes, and what it adds to the upstream's own."""
    with ExitStack() as exits:
        upstream = exits.enter_context(Lean("upstream"))
        stack = exits.enter_context(measured(place / "synchronous", upstream))
        asked = {"foreman": (stack.port, _CHAT), "upstream": (upstream.ports[0], _CHAT)}
        if with_peers:
            asked["LiteLLM"] = (exits.enter_context(peers.litellm(place / "litellm", upstream)), _COMPLETIONS)
        connections = {name: http.client.HTTPConnection("127.0.0.1", port) for name, (port, _) in asked.items()}
        timed: dict[str, list[Timed]] = {name: [] for name in asked}
        for number in range(times + 3):
            for name, (_, (path, body)) in asked.items():
                time.sleep(_PAUSE_S)
                one = _chat(connections[name], path, body)
                if number >= 3:  # the first ones find nothing warm
                    timed[name].append(one)
        for connection in connections.values():
            connection.close()
    for part, name in (("first_line_ms", "first line"), ("whole_ms", "whole answer")):
        took = {side: [getattr(each, part) for each in all_of] for side, all_of in timed.items()}
        direct = took.pop("upstream")
        over = {side: [one - least for one, least in zip(ones, direct, strict=True)] for side, ones in took.items()}
        yield Row(
            GROUP, f"added to a streamed chat, {name}, p50", "ms", over, [Target("≤", 0.2, "LiteLLM")], paired=False
        )


def _chat(connection: http.client.HTTPConnection, path: str, body: object) -> Timed:
    sent = time.perf_counter()
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.status
    first = answer.readline()
    first_line_ms = (time.perf_counter() - sent) * 1000
    rest = answer.read()
    whole_ms = (time.perf_counter() - sent) * 1000
    assert first
    assert rest.rstrip().endswith((b"}", b"[DONE]")), rest
    return Timed(first_line_ms, whole_ms)
