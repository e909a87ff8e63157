"""How many jobs a second are accepted, each on the disk before its answer, beside one insert and commit a request."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.stack import eventually
from tests.addresses import free_port
from tests.bench.clients import ROOT, Load, ask
from tests.bench.figures import Row, Target
from tests.bench.lean import Lean
from tests.bench.measured import measured

GROUP = "Submissions"
CLIENTS = 32


def rows(place: Path, rounds: int, seconds: float, processes: tuple[int, ...] = (1, 2)) -> Iterator[Row]:
    """A row for each number of web processes; foreman and the floor take turns."""
    for count in processes:
        with ExitStack() as exits:
            upstream = exits.enter_context(Lean("upstream"))
            # Only `web`: what runs jobs would take the processors away from what accepts them.
            stack = exits.enter_context(
                measured(place / f"web{count}", upstream, "web", web_workers=str(count), jobs_max_queue="1000000")
            )
            ports = {"foreman": stack.port, "floor": exits.enter_context(floor(place / f"floor{count}", count))}
            for port in ports.values():
                ask(Load(port, clients=CLIENTS, seconds=min(1.0, seconds)))
            sides: dict[str, list[float]] = {name: [] for name in ports}
            for _ in range(rounds):
                for name, port in ports.items():
                    sides[name].append(ask(Load(port, clients=CLIENTS, seconds=seconds)).per_second)
        name = f"jobs accepted, {count} web process{'es' if count > 1 else ''}, {CLIENTS} clients"
        yield Row(GROUP, name, "a second", sides, [Target("≥", 0.7, "floor")])


@contextmanager
def floor(directory: Path, processes: int) -> Iterator[int]:
    """The floor, served by as many processes; its port."""
    directory.mkdir(parents=True)
    port = free_port()
    argv = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(processes)]
    argv += ["--worker-class", "gthread", "--threads", "64", "--worker-connections", "1000", "--keep-alive", "75"]
    argv += ["--no-control-socket", "--log-level", "warning", "tests.bench.floor_submit:application()"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FLOOR_DATABASE": str(directory / "floor.db")}
    with (directory / "floor.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(port), "the floor answers")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        told = ask(Load(port, clients=1, requests=1))
    except AssertionError:
        return False
    return told.answers == 1
