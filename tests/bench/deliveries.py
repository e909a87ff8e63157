"""Webhook deliveries a second, of events that wait already, to one origin and to a hundred."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.stack import eventually
from tests.backlog import STATES, fill
from tests.bench.figures import Row, Target
from tests.bench.lean import ROOT, Lean, Seen
from tests.bench.measured import measured

GROUP = "Webhooks"
#: Senders that one origin may hold by default, and that a process has.
ORIGIN_SENDERS, SENDERS = 8, 32
_PATIENCE_S = 300.0


def rows(place: Path, rounds: int, events: int, many: int = 100) -> Iterator[Row]:
    """A row for each number of origins; foreman and the floor take turns."""
    directory = place / "deliveries"
    with (
        Lean("upstream") as upstream,
        measured(directory, upstream, "web", "webhooks", "clock", sweep_interval_s="0.5"),
    ):
        for origins, senders in ((1, ORIGIN_SENDERS), (many, SENDERS)):
            sides: dict[str, list[float]] = {"foreman": [], "floor": []}
            with Lean("receiver", origins) as receiver:
                for _ in range(rounds):
                    sides["foreman"].append(_foreman(directory, receiver, events).per_second)
                    sides["floor"].append(_floor(directory, receiver, events, senders).per_second)
            name = f"webhooks to {origins} fast origin{'s' if origins > 1 else ''}, {senders} at once"
            yield Row(GROUP, name, "a second", sides, [Target("≥", 0.7, "floor")])


def _foreman(directory: Path, receiver: Lean, events: int) -> Seen:
    receiver.seen(forget=True)
    jobs = max(1, events // len(STATES) // receiver.origins)
    for url in receiver.urls:
        fill(f"sqlite:///{directory}/data/foreman.db", url, jobs)
    return _all(receiver, jobs * len(STATES) * receiver.origins)


def _floor(directory: Path, receiver: Lean, events: int, senders: int) -> Seen:
    receiver.seen(forget=True)
    each = max(1, events // receiver.origins)
    asked = {"urls": receiver.urls, "each": each, "threads": senders, "database": str(directory / "floor.db")}
    argv = [sys.executable, "-m", "tests.bench.floor_deliver"]
    subprocess.run(argv, cwd=ROOT, input=json.dumps(asked), text=True, check=True)
    return _all(receiver, each * receiver.origins)


def _all(receiver: Lean, count: int) -> Seen:
    eventually(lambda: receiver.seen().count >= count, f"{count} events came", _PATIENCE_S)
    return receiver.seen()
