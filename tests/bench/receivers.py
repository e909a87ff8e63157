"""``python -m tests.bench.receivers``: what receivers cost each other and jobs, with foreman's own processes.

Absolute times are noise on a busy machine; read the ratio, which compares runs that take turns. Takes some minutes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from foreman.domain.moment import parse_rfc3339
from tests.acceptance.stack import Stack, eventually, procfile
from tests.addresses import free_port
from tests.backlog import Turnstile, fill, out_of_order
from tests.hostile import HostilePeer, is_silent
from tests.receiver import Receiver
from tests.upstream import reply

#: Jobs in a round, one after the other, and rounds with each of the two receivers.
JOBS, ROUNDS = 50, 8

#: Jobs whose four events each wait when the receiver is back.
WAITING = 2_500

SENDING = {name: command for name, command in procfile().items() if name in {"web", "webhooks", "clock"}}


def latencies_ms(stack: Stack, url: str) -> list[float]:
    """From ``queued`` to ``done``, by the job's own timestamps."""
    found = []
    for _ in range(JOBS):
        stamps = stack.until(stack.submit(state_webhook_url=url), "done")["timestamps"]
        queued, done = parse_rfc3339(stamps["queued"]), parse_rfc3339(stamps["done"])
        assert queued is not None
        assert done is not None
        found.append(float(done - queued))
    return found


def show(name: str, waits_ms: Sequence[float]) -> float:
    """One line; returns the 95th percentile."""
    cuts = statistics.quantiles(waits_ms, n=100)
    print(f"{name:<44}{cuts[49]:>9.1f}{cuts[94]:>9.1f}{max(waits_ms):>9.1f}{len(waits_ms):>7}")
    return cuts[94]


def dead_receiver(place: Path) -> None:
    """Jobs' latency with a receiver that never answers beside one that does, in turns."""
    with HostilePeer(is_silent) as hole, Stack(place, {"FOREMAN_WEBHOOK_TIMEOUT_S": "10"}) as stack:
        stack.upstream.default = reply("Hi")
        latencies_ms(stack, stack.receiver.url)
        healthy: list[float] = []
        dead: list[float] = []
        for _ in range(ROUNDS):
            healthy += latencies_ms(stack, stack.receiver.url)
            dead += latencies_ms(stack, hole.url)
    print(f"{'queued to done, milliseconds':<44}{'p50':>9}{'p95':>9}{'max':>9}{'n':>7}")
    before = show("receiver that answers", healthy)
    after = show("receiver that never does", dead)
    print(f"p95 with a dead receiver: {after / before:.3f} of that without")


def backlog(place: Path) -> None:
    """Four events of each job wait for a receiver that is down, and then is not."""
    port = free_port()
    env = {"FOREMAN_WEBHOOK_CIRCUIT_OPEN_MAX_S": "5", "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "1,2,4,8,16,60,300"}
    with Stack(place, env, SENDING) as stack:
        fill(f"sqlite:///{place}/data/foreman.db", f"http://127.0.0.1:{port}/hook", WAITING)
        eventually(
            lambda: [each for each in stack.ask("GET", "/webhooks/origins").json["origins"] if each["failures"] >= 5],
            "the circuit opens",
        )
        turnstile = Turnstile()
        with Receiver(turnstile, port=port) as receiver:
            began = time.monotonic()
            receiver.wait_for(1, timeout_s=60)
            first = time.monotonic()
            received = receiver.wait_for(4 * WAITING, timeout_s=900)
            took_s = time.monotonic() - first
    print(f"{len(received)} events drained in {took_s:.1f} s, {len(received) / took_s:.0f} a second, at most ", end="")
    print(f"{turnstile.most} at once (cap 8), {len(out_of_order(received))} jobs out of order; ", end="")
    print(f"the first came {first - began:.1f} s after the receiver did")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        dead_receiver(Path(place) / "dead")
        backlog(Path(place) / "backlog")


if __name__ == "__main__":
    main()
