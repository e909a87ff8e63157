"""What ``/api/chat`` through foreman costs a client over the same call made to the upstream directly.

Both are asked in turn, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.acceptance.stack import Stack

#: Seconds before each call, so that it finds everything idle.
PAUSE_S = 0.1

_BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()


@dataclass(frozen=True, slots=True)
class Timed:
    """One streamed chat, milliseconds from just before its request is sent."""

    first_line_ms: float
    whole_ms: float


def measure(stack: Stack, calls: int) -> tuple[Sequence[Timed], Sequence[Timed]]:
    """So many chats through foreman and as many directly, in turn, each on a connection that stays open."""
    through = http.client.HTTPConnection("127.0.0.1", stack.port)
    direct = http.client.HTTPConnection("127.0.0.1", stack.upstream.port)
    pairs = []
    for _ in range(calls):
        time.sleep(PAUSE_S)
        one = _chat(through)
        time.sleep(PAUSE_S)
        pairs.append((one, _chat(direct)))
    through.close()
    direct.close()
    return [one for one, _ in pairs], [other for _, other in pairs]


def _chat(connection: http.client.HTTPConnection) -> Timed:
    sent = time.perf_counter()
    connection.request("POST", "/api/chat", _BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.status
    first = answer.readline()
    first_line_ms = (time.perf_counter() - sent) * 1000
    rest = answer.read()
    whole_ms = (time.perf_counter() - sent) * 1000
    assert first
    assert json.loads(rest.splitlines()[-1])["done"] is True
    return Timed(first_line_ms, whole_ms)
