"""Jobs a second, from the first submission to the last ``done`` or webhook, with an upstream that answers at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from tests.acceptance.stack import eventually
from tests.bench import peers
from tests.bench.clients import SMALL, Load, ask
from tests.bench.figures import Row, Target
from tests.bench.lean import Lean
from tests.bench.measured import Measured, measured
from tests.valkey import ValkeyServer

GROUP = "Jobs"
#: Requests that the upstream takes at once, foreman's threads that run jobs by default.
SLOTS = 8
#: Seconds that a round may take.
_PATIENCE_S = 300.0

#: Runs some jobs and returns how many a second.
Rate = Callable[[], float]


def rows(place: Path, rounds: int, jobs: int, *, with_peers: bool) -> Iterator[Row]:
    """Without webhooks and with four a job; foreman and its peers take turns."""
    with ExitStack() as exits:
        upstream = exits.enter_context(Lean("upstream"))
        receiver = exits.enter_context(Lean("receiver"))
        stack = exits.enter_context(
            measured(place / "jobs", upstream, upstream_slots=str(SLOTS), jobs_max_queue="1000000")
        )
        plain: dict[str, Rate] = {"foreman": lambda: _quiet(stack, jobs)}
        told: dict[str, Rate] = {"foreman": lambda: _webhooks(stack, receiver, jobs // 2)}
        if with_peers:
            few = max(10, jobs // 20)  # it takes ten in half a second, however many there are
            valkey = exits.enter_context(ValkeyServer(place / "celery-valkey", append_only=True, sync="everysec"))
            hoglah = exits.enter_context(peers.hoglah(place / "hoglah"))
            celery = exits.enter_context(peers.celery(place / "celery", upstream, valkey.url))
            plain["hoglah"] = lambda: few / float(hoglah.ask(str(few)))
            plain["Celery"] = lambda: jobs / float(celery.ask(str(jobs)))
            told["hoglah"] = lambda: few / float(hoglah.ask(f"{few} {receiver.urls[0]}"))
        for once in plain.values():
            once()  # everybody has started, and the first jobs are over
        without = [{side: once() for side, once in plain.items()} for _ in range(rounds)]
        four = [{side: once() for side, once in told.items()} for _ in range(rounds)]
    targets = [Target("≥", 10, "hoglah"), Target("≥", 1, "Celery")]
    yield Row(GROUP, "jobs, no webhooks", "a second", _by_side(without), targets)
    note = "hoglah calls back once a job, when it is done."
    yield Row(GROUP, "jobs, four webhooks each", "a second", _by_side(four), [Target("≥", 6, "hoglah")], note)


def _by_side(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    return {side: [each[side] for each in rounds] for side in rounds[0]}


def _quiet(stack: Measured, jobs: int) -> float:
    before = _done(stack)
    began = time.monotonic()
    ask(Load(stack.port, requests=jobs))
    eventually(lambda: _done(stack) >= before + jobs, f"{jobs} jobs are done", _PATIENCE_S)
    return jobs / (time.monotonic() - began)


def _webhooks(stack: Measured, receiver: Lean, jobs: int) -> float:
    receiver.seen(forget=True)
    began = time.monotonic()
    ask(Load(stack.port, SMALL | {"state_webhook_url": receiver.urls[0]}, requests=jobs))
    eventually(lambda: receiver.seen().count >= 4 * jobs, f"{4 * jobs} webhooks came", _PATIENCE_S)
    return jobs / (receiver.seen().last_s - began)


def _done(stack: Measured) -> int:
    """How many jobs are done: a look that costs foreman nothing."""
    with closing(sqlite3.connect(stack.directory / "data" / "foreman.db", timeout=30)) as database:
        return int(database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'done'").fetchone()[0])
