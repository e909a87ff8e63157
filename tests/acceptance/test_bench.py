from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.bench import figures
from tests.bench.clients import ROOT

#: What stands in the table whatever the sizes are, in its order.
GROUPS = {
    "Submissions": ["1 web process,", "2 web processes,"],
    "Jobs": ["no webhooks", "four webhooks each"],
    "Latency when idle": ["submission to the upstream's call", "message to a worker"],
    "Webhooks": ["1 fast origin,", "fast origins,"],
    "Synchronous calls": ["first line", "whole answer"],
    "Growth": [
        f"{call}, 2,000 jobs stored, {kind}"
        for kind in ("SQLite", "PostgreSQL")
        for call in ("submit", "claim", "list", "GET", "prune 5")
    ]
    + ["submission while pruning, SQLite", "submission while pruning, PostgreSQL"],
    "Memory": ["web, resident", "jobs, resident", "artifacts, resident", "webhooks, resident", "clock, resident"],
}


@pytest.mark.timeout(400)
def test_the_short_benchmark_measures_every_row(tmp_path: Path) -> None:
    """It says nothing of speed; it says that `make bench` works, and that no row is lost."""
    argv = [sys.executable, "tests/bench/run.py", "--short", "--no-peers", "--out", str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    made = figures.load(tmp_path / "figures.json")
    groups = figures.groups(made.rows)
    assert list(groups) == list(GROUPS)
    for group, parts in GROUPS.items():
        for row, part in zip(groups[group], parts, strict=True):
            assert part in row.name
    values = [(row, value) for row in made.rows for rounds in row.sides.values() for value in rounds]
    assert [row.name for row, value in values if not math.isfinite(value)] == []
    assert [row.name for row, value in values if value <= 0 and row.group != "Synchronous calls"] == []
    assert ET.parse(tmp_path / "figures.svg").getroot().tag.endswith("svg")  # noqa: S314  our own
