"""The memory of each process when it has started, after some jobs, and after ten times as many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.acceptance.stack import Stack
from tests.bench.clients import SMALL, Load, ask
from tests.bench.figures import Row, Target
from tests.bench.lean import Lean
from tests.bench.measured import measured
from tests.bench.throughput import SLOTS

GROUP = "Memory"
#: Jobs that wait at once at most, so that a long run measures no long queue.
_WAVE = 1_000
_PATIENCE_S = 600.0


def rows(place: Path, jobs: int, say: Callable[[str], None]) -> Iterator[Row]:
    """A row for each process: MiB after ``jobs``, beside those after a tenth of them and those before any."""
    with (
        Lean("upstream") as upstream,
        Lean("receiver") as receiver,
        measured(place / "memory", upstream, upstream_slots=str(SLOTS)) as stack,
    ):
        body = SMALL | {"state_webhook_url": receiver.urls[0], "state_webhook_events": ["done"]}
        idle = _resident(stack)
        _run(stack, receiver, body, jobs // 10, say)
        early = _resident(stack)
        _run(stack, receiver, body, jobs, say)
        late = _resident(stack)
    for name, mib in late.items():
        sides = {"foreman": [mib], f"after {jobs // 10:,}": [early[name]], "idle": [idle[name]]}
        targets = [Target("≤", 1.05, f"after {jobs // 10:,}")]
        yield Row(GROUP, f"{name}, resident after {jobs:,} jobs", "MiB", sides, targets)


def _run(stack: Stack, receiver: Lean, body: dict[str, object], until: int, say: Callable[[str], None]) -> None:
    """Run jobs, each with a webhook, until so many were told to be done."""
    while (done := receiver.seen().count) < until:
        wave = min(_WAVE, until - done)
        ask(Load(stack.port, body, requests=wave))
        deadline = time.monotonic() + _PATIENCE_S
        while receiver.seen().count < done + wave:
            assert time.monotonic() < deadline, "the jobs are not done"
            time.sleep(0.05)
        say(f"memory: {done + wave:,} of {until:,} jobs")


def _resident(stack: Stack) -> dict[str, float]:
    """MiB of each process and what it started, by the name in the Procfile; a page that some share counts in parts."""
    return {name: sum(map(_pss, _family(process.pid))) / 2**20 for name, process in stack.processes.items()}


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
