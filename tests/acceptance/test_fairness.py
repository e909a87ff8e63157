"""Receivers that accept connections and never answer, beside one that does: through the Procfile's own processes."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from foreman.domain.moment import parse_rfc3339
from tests.acceptance.stack import Stack, eventually, procfile
from tests.hostile import HostilePeer, is_silent

#: Receivers that never answer, and events that wait for each before the healthy one has its first: more tries at once
#: than there are senders (8 by their caps, 32 threads).
BLACK_HOLES, EVENTS_EACH = 8, 20

#: Seconds that each try to a black hole holds its sender: ``webhook.timeout_s``'s default.
TIMEOUT_S = 10.0

#: Events for the healthy receiver, and how many a second.
EVENTS, RATE = 400, 50

#: Without the process that runs jobs: each submission is one event, ``queued``, and what is measured is its delivery.
SENDING = {name: command for name, command in procfile().items() if name in {"web", "webhooks", "clock"}}


def wait_s(request: Any) -> float:
    """Seconds from the moment that the event was due, which its body has, to its arrival."""
    due = parse_rfc3339(request.json["timestamp"])
    assert due is not None
    return float(request.at - due / 1000)


def test_a_healthy_receiver_does_not_notice_eight_black_holes(own_directory: Path) -> None:
    """From its first event on, nothing for it waits for a black hole's timeout."""
    with ExitStack() as exits:
        holes = [exits.enter_context(HostilePeer(is_silent)) for _ in range(BLACK_HOLES)]
        black = [hole.url.removesuffix("/hook") for hole in holes]
        stack = exits.enter_context(Stack(own_directory, {"FOREMAN_WEBHOOK_TIMEOUT_S": str(TIMEOUT_S)}, SENDING))
        for number in range(BLACK_HOLES * EVENTS_EACH):
            stack.submit(state_webhook_url=holes[number // EVENTS_EACH].url)
        eventually(lambda: sum(each["in_flight"] for each in origins(stack)) >= BLACK_HOLES, "all holes hold a sender")
        began = time.monotonic()
        for number in range(EVENTS):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            stack.submit()
        waits = sorted(wait_s(each) for each in stack.receiver.wait_for(EVENTS, timeout_s=60))
        pending = {each["origin"]: each["pending"] for each in origins(stack)}
        print(
            f"waits: p50 {statistics.median(waits):.3f} s, p95 {waits[int(EVENTS * 0.95)]:.3f} s, max {waits[-1]:.3f} s"
        )
    assert waits[-1] < TIMEOUT_S
    assert [pending[each] for each in black] == [EVENTS_EACH] * BLACK_HOLES


def origins(stack: Stack) -> Any:
    """``GET /webhooks/origins``."""
    return stack.ask("GET", "/webhooks/origins").json["origins"]
