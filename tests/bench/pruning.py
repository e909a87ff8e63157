"""What pruning a million jobs does to whoever submits meanwhile: the slowest of a hundred submissions, in turns.

``python -m tests.bench.pruning URL`` prunes while its last line was ``go``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from foreman.domain.job import Moment
from foreman.services.prune import Pruner
from foreman.settings import Settings
from foreman.store import database
from foreman.store.objects import Objects
from foreman.store.pruning import Pruning
from foreman.tally import Tally
from tests.bench import stored
from tests.bench.clients import ROOT, Load, ask
from tests.bench.figures import Row, Target
from tests.bench.growth import GROUP
from tests.bench.lean import Lean
from tests.bench.measured import measured
from tests.postgres import PostgresServer
from tests.stores import Stores

#: Submissions in a slice, so that the slowest of a hundred is not one alone.
_CLIENTS = 2


def rows(place: Path, size: int, rounds: int, seconds: float) -> Iterator[Row]:
    """A row for each database: slices of time in which jobs are pruned take turns with others."""
    for kind in ("SQLite", "PostgreSQL"):
        with ExitStack() as exits:
            directory = place / f"prune-{kind}"
            postgres = exits.enter_context(PostgresServer()) if kind == "PostgreSQL" else None
            with ExitStack() as filled:
                (directory / "data").mkdir(parents=True)
                url = stored.make(filled, directory / "data", postgres, size).url
            upstream = exits.enter_context(Lean("upstream"))
            stack = exits.enter_context(
                measured(directory, upstream, "web", database_url=url, jobs_max_queue="1000000")
            )
            prune = exits.enter_context(_Pruning(url))
            sides: dict[str, list[float]] = {"foreman": [], "not pruning": []}
            load = Load(stack.port, clients=_CLIENTS, seconds=seconds)
            ask(load)
            for _ in range(rounds):
                prune.say("go")
                sides["foreman"].append(_p99(ask(load).waits_ms))
                prune.say("wait")
                sides["not pruning"].append(_p99(ask(load).waits_ms))
            removed = prune.removed()
        note = f"{removed:,} of {size:,} jobs were pruned meanwhile."
        yield Row(GROUP, f"submission while pruning, {kind}, p99", "ms", sides, [Target("≤", 2, "not pruning")], note)


def _p99(waits_ms: list[float]) -> float:
    return waits_ms[int(len(waits_ms) * 0.99)]


class _Pruning:
    """A process that prunes when it is told to."""

    def __init__(self, url: str) -> None:
        argv = [sys.executable, "-m", "tests.bench.pruning", url]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def removed(self) -> int:
        """How many jobs until now; it prunes no more."""
        out, _ = self._process.communicate()
        return int(out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()


class _Told(Pruning):
    """Finds expired jobs only while it is told to."""

    going = threading.Event()
    removed = 0

    def expired(self, now: Moment, limit: int, *, elsewhere: bool = True) -> Sequence[str]:
        """As ever, once told to."""
        self.going.wait()
        return super().expired(now, limit, elsewhere=elsewhere)

    def remove(self, job_ids: Sequence[str], now: Moment, *, announcing: bool = False) -> int:
        """As ever, and counted."""
        gone = super().remove(job_ids, now, announcing=announcing)
        _Told.removed += gone
        return gone


def main() -> None:
    """Prune while told to, as the service does."""
    database.connect(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        pruner = Pruner(_Told(), Stores().jobs, Objects(f"file://{place}"), Settings().prune.batch, 10**12, Tally())
        threading.Thread(target=pruner.prune, daemon=True).start()
        for line in sys.stdin:
            (_Told.going.set if line.strip() == "go" else _Told.going.clear)()
        print(_Told.removed)


if __name__ == "__main__":
    main()
