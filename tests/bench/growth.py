"""What it costs to submit, claim, list, read and prune, with a thousand jobs stored and with a million."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from foreman import clock
from foreman.api.view import JobView
from foreman.domain.job import Claim
from foreman.store import database
from foreman.store.jobs import Filter
from foreman.store.objects import Objects
from tests.bench import stored
from tests.bench.figures import Row, Target
from tests.postgres import PostgresServer
from tests.stores import BOOM, Engine, Stores

GROUP = "Growth"
#: Jobs that one look for expired ones removes.
_BATCH = 5


class _Calls:
    """What is measured, on one database."""

    def __init__(self, engine: Engine, count: int, place: Path) -> None:
        self._engine = engine
        self.stores = Stores(slots=1, max_queue=10 * stored.QUEUED)
        objects = Objects(f"file://{place}/objects")
        parts = self.stores
        self._view = JobView(parts.jobs, parts.line, parts.events, parts.artifacts, objects, "http://foreman", 262_144)
        self._read = stored.middle(engine, count)
        self.all: dict[str, Callable[[], object]] = {
            "submit": lambda: self.stores.submit(at=clock.now()),
            "claim": self._claim,
            "list": lambda: self.stores.jobs.page(Filter(limit=50)),
            "GET": lambda: self._view.show(self._read),
            f"prune {_BATCH}": self._prune,
        }
        self._claimed: Claim | None = None

    def once(self, name: str) -> float:
        """Milliseconds that a call takes here; what it leaves behind is cleared away, untimed."""
        database.proxy.initialize(self._engine.database)
        began = time.perf_counter()
        self.all[name]()
        took_ms = (time.perf_counter() - began) * 1000
        if self._claimed is not None:
            self.stores.claims.fail(self._claimed, BOOM, clock.now())
            self._claimed = None
        return took_ms

    def _claim(self) -> None:
        claim = self.stores.claims.claim(clock.now())
        assert isinstance(claim, Claim)
        self._claimed = claim

    def _prune(self) -> None:
        assert stored.prune(self.stores, _BATCH) == _BATCH, "the jobs that are stored are used up"


def rows(place: Path, sizes: tuple[int, ...], times: int, say: Callable[[str], None]) -> Iterator[Row]:
    """A row for each call and database; the sizes take turns."""
    for kind in ("SQLite", "PostgreSQL"):
        with ExitStack() as exits:
            postgres = exits.enter_context(PostgresServer()) if kind == "PostgreSQL" else None
            calls = {}
            for size in sizes:
                say(f"{kind}: writing {size:,} jobs")
                calls[size] = _Calls(stored.make(exits, place / kind, postgres, size), size, place)
            yield from _measured(kind, calls, times)


def _measured(kind: str, calls: dict[int, _Calls], times: int) -> Iterator[Row]:
    least, most = min(calls), max(calls)
    for name in calls[least].all:
        for each in calls.values():
            each.once(name)
        sides: dict[str, list[float]] = {_side(size, most): [] for size in sorted(calls, reverse=True)}
        for _ in range(times):
            for size, each in calls.items():
                sides[_side(size, most)].append(each.once(name))
        yield Row(
            GROUP,
            f"{name}, {most:,} jobs stored, {kind}, p50",
            "ms",
            sides,
            [Target("≤", 1.5, _side(least, most))],
            paired=False,
        )


def _side(size: int, most: int) -> str:
    return "foreman" if size == most else f"at {size:,}"
