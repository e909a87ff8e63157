"""``make bench``: foreman beside the least work possible on the same parts and beside its peers, in one run.

Absolute figures are noise; read the ratios: ``docs/benchmarks.md`` says how. ``--short`` takes half a minute and shows
that the program works, no more. ``--only jobs,memory`` measures some of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import Console
from rich.table import Table

from tests.bench import (
    chart,
    deliveries,
    figures,
    growth,
    idle,
    memory,
    mixed,
    peers,
    pruning,
    submissions,
    synchronous,
    throughput,
)
from tests.bench.figures import Figures, Row

#: Where the figures are kept that ``docs/benchmarks.md`` shows.
DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything is done: rounds that take turns, seconds of each, and numbers of things."""

    rounds: int
    seconds: float
    jobs: int
    events: int
    calls: int
    origins: int
    stored: tuple[int, ...]
    pruned: int
    remembered: int


FULL = Size(7, 4.0, 1_000, 4_000, 100, 100, (1_000, 100_000, 1_000_000), 1_000_000, 100_000)
#: As little as shows that every row can be measured.
SHORT = Size(1, 0.3, 20, 40, 1, 5, (1_000, 2_000), 1_000, 40)

Say = Callable[[str], None]
Part = Callable[[Path, Size, bool, Say], Iterator[Row]]

#: The parts of a run, by the name that ``--only`` takes.
PARTS: dict[str, Part] = {
    "submissions": lambda place, size, _, __: submissions.rows(place, size.rounds, size.seconds),
    "jobs": lambda place, size, with_peers, _: throughput.rows(place, size.rounds, size.jobs, with_peers=with_peers),
    "idle": lambda place, size, with_peers, _: idle.rows(place, size.calls, with_peers=with_peers),
    "webhooks": lambda place, size, _, __: deliveries.rows(place, size.rounds, size.events, size.origins),
    "synchronous": lambda place, size, with_peers, _: synchronous.rows(place, size.calls, with_peers=with_peers),
    "growth": lambda place, size, _, say: growth.rows(place, size.stored, size.calls, say),
    "pruning": lambda place, size, _, __: pruning.rows(place, size.pruned, size.rounds, size.seconds),
    "memory": lambda place, size, _, say: memory.rows(place, size.remembered, say),
}


def machine() -> str:
    """What it was measured on, in a line."""
    return f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def measure(console: Console, names: list[str], size: Size, *, with_peers: bool) -> list[Row]:
    """Every row of the parts called ``names``."""
    found: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="foreman-bench-") as place,
        console.status("") as status,
    ):
        for name in names:
            status.update(f"{name} …")
            for row in PARTS[name](Path(place), size, with_peers, lambda said: status.update(f"{said} …")):
                found.append(row)
                console.print(f"[dim]{row.group}:[/] {row.name}: {figures.number(row.value())} {row.unit}")
    return found


def show(console: Console, rows: list[Row]) -> None:
    """The table."""
    for group, members in figures.groups(rows).items():
        table = Table(*figures.HEADS, title=group, title_justify="left", title_style="bold")
        for row in members:
            for line in figures.cells(row):
                table.add_row(*line, style="red" if line[-1] == "no" else None)
        console.print(table)


def show_mixed(console: Console, jobs: int) -> None:
    """What the choice of the next job saves: counted, not timed."""
    came = mixed.arrivals(jobs)
    least = mixed.best(came)
    title = f"Mixed load: {jobs} jobs, 3 models, 1 slot; a load takes 20 runs, and times are in runs"
    table = Table("policy", "loads", "makespan", "of best", "longest wait", title=title, title_justify="left")
    for name, policy in mixed.POLICIES.items():
        found = mixed.tally(came, policy)
        ratio = f"{found.makespan / least:.2f}"
        table.add_row(name, str(found.loads), f"{found.makespan:.0f}", ratio, f"{found.longest_wait:.0f}")
    console.print(table)
    console.print(f"foreman's bound is {mixed.BOUND}; a run that begins with a load takes 21")


def save(out: Path, made: Figures) -> None:
    """Write the JSON and the plot; what was not measured this time, of the same machine and size, stays as it was."""
    path = out / "figures.json"
    if path.exists():
        before = figures.load(path)
        if (before.machine, before.short) == (made.machine, made.short):
            made = figures.merged(before, made)
    made.save(path)
    (out / "figures.svg").write_text(chart.svg(made), encoding="utf-8")


def main(args: list[str] | None = None) -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each, to see that it works")
    parser.add_argument("--no-peers", action="store_true", help="foreman and the floor only")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="where the JSON and the plot go: docs/benchmarks, unless it is short")
    asked = parser.parse_args(args)
    console = Console()
    if not asked.no_peers:
        with console.status("installing the peers, the first time only …"):
            peers.install()
    began = time.monotonic()
    size = SHORT if asked.short else FULL
    rows = measure(console, asked.only.split(","), size, with_peers=not asked.no_peers)
    show(console, rows)
    show_mixed(console, 3000)
    out = asked.out or (None if asked.short or asked.no_peers else DOCS)
    if out is not None:
        save(out, Figures(machine(), asked.short, round(time.monotonic() - began), rows))
        console.print(f"wrote {out}/figures.json and figures.svg")


if __name__ == "__main__":
    main()
