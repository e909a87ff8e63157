"""``make bench``: foreman beside the least work possible on the same parts, in one run on one machine.

Absolute times are noise; read the ratios. ``--short`` takes seconds and shows that the program works, no more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.acceptance.stack import Stack
from tests.bench import mixed, synchronous
from tests.bench.latency import measure_foreman, measure_plain
from tests.upstream import FakeOllama, reply
from tests.valkey import ValkeyServer

#: Seconds between two submissions, so that each finds everything idle.
PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """One measured distribution, milliseconds."""

    name: str
    waits_ms: Sequence[float]

    def line(self) -> str:
        """For people."""
        cuts = statistics.quantiles(self.waits_ms, n=100)
        return f"{self.name:<58}{cuts[49]:>9.2f}{cuts[94]:>9.2f}{cuts[98]:>9.2f}{len(self.waits_ms):>7}"


def submit_to_upstream(stack: Stack, jobs: int) -> Row:
    """From just before the bytes of POST /jobs are sent to the arrival of the first call at the upstream."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    waits = []
    for _ in range(jobs):
        time.sleep(PAUSE_S)
        before = len(stack.upstream.loads)
        sent = time.monotonic()
        connection.request("POST", "/jobs", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        job_id = json.loads(answer.read())["job_id"]
        stack.until(job_id, "done")
        waits.append((stack.upstream.loads[before].at - sent) * 1000)
    connection.close()
    return Row("submit to upstream call, idle: POST /jobs", waits)


def direct(upstream: FakeOllama, calls: int) -> Row:
    """The floor: the same first call made directly, on an open connection."""
    body = json.dumps({"model": "m", "messages": [], "stream": False}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port)
    waits = []
    for _ in range(calls):
        time.sleep(PAUSE_S)
        before = len(upstream.loads)
        sent = time.monotonic()
        connection.request("POST", "/api/chat", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        waits.append((upstream.loads[before].at - sent) * 1000)
    connection.close()
    return Row("  floor: the upstream called directly", waits)


def messages(measure: Callable[[str, int], list[float]], name: str, count: int, directory: Path) -> Row:
    """From a send to the actor's first line, on a Valkey of its own."""
    with ValkeyServer(directory) as valkey:
        return Row(name, measure(valkey.url, count))


def synchronous_rows(stack: Stack, calls: int) -> list[Row]:
    """``/api/chat`` through foreman beside the upstream called directly, and pair by pair what the one costs more."""
    through, direct = synchronous.measure(stack, calls)
    rows = []
    for part, name in (("first_line_ms", "first line"), ("whole_ms", "whole answer")):
        ours, floor = ([getattr(each, part) for each in timed] for timed in (through, direct))
        over = [our - least for our, least in zip(ours, floor, strict=True)]
        rows.append(Row(f"/api/chat, idle: {name}", ours))
        rows.append(Row("  floor: the upstream called directly", floor))
        rows.append(Row("  the difference", over))
    return rows


def print_mixed(jobs: int) -> None:
    """The policies side by side."""
    came = mixed.arrivals(jobs)
    least = mixed.best(came)
    title = f"mixed load: {jobs} jobs, 3 models, 1 slot, a load = 20 runs (times in runs)"
    print(f"\n{title:<72}{'loads':>7}{'makespan':>10}{'of best':>9}{'longest wait':>14}")
    for name, policy in mixed.POLICIES.items():
        found = mixed.tally(came, policy)
        ratio = found.makespan / least
        print(f"{name:<72}{found.loads:>7}{found.makespan:>10.0f}{ratio:>9.2f}{found.longest_wait:>14.0f}")
    print(f"foreman's bound is {mixed.BOUND}; a run that begins with a load takes 21")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each, to see that it works")
    jobs, sends = (5, 3) if parser.parse_args().short else (300, 60)
    with tempfile.TemporaryDirectory() as place:
        rows = [
            messages(measure_plain, "  plain Dramatiq on Redis: send to actor, idle", sends, Path(place) / "plain"),
            messages(measure_foreman, "  foreman's broker: send to actor, idle", sends, Path(place) / "waking"),
        ]
        with Stack(Path(place) / "stack") as stack:
            stack.upstream.default = reply("Hi")
            submit_to_upstream(stack, 3)
            rows = [submit_to_upstream(stack, jobs), direct(stack.upstream, jobs), *rows]
            rows += synchronous_rows(stack, jobs)
    print(f"{'milliseconds':<58}{'p50':>9}{'p95':>9}{'p99':>9}{'n':>7}")
    for row in rows:
        print(row.line())
    print_mixed(3000)


if __name__ == "__main__":
    main()
