"""How an engine runs the statements of a call: its plans, and what running them costs, in units without a clock."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from foreman.store import database
from tests.stores import Engine

#: Tables that grow with the number of jobs.
GROWING = ("jobs", "events", "artifacts", "labels", "tombstones", "payloads", "attempts")

_WHOLE = re.compile(rf"(Seq Scan on|SCAN) ({'|'.join(GROWING)}|t\d)\b")
_SORT = re.compile(r"\bSort\b|USE TEMP B-TREE FOR")


class Undo(Exception):
    """Nothing of this transaction is to last."""


@contextmanager
def undone() -> Iterator[None]:
    """A transaction of which nothing lasts."""
    with suppress(Undo), database.write():
        yield
        raise Undo


def statements(engine: Engine, call: Callable[[], Any]) -> list[tuple[str, Any]]:
    """What ``call`` asks the engine, in order, with the parameters; what it changes is undone."""
    found: list[tuple[str, Any]] = []
    with undone():
        engine.database.query_hooks.append(lambda event: found.append((event.sql, event.params)))
        try:
            call()
        finally:
            engine.database.query_hooks.clear()
    return [each for each in found if re.match("SELECT|UPDATE|DELETE|INSERT", each[0])]


def plans(engine: Engine, call: Callable[[], Any]) -> list[str]:
    """How the engine would run each statement of ``call`` that looks for rows."""
    found = [each for each in statements(engine, call) if not each[0].startswith("INSERT")]
    with undone():
        return [_plan(engine, sql, parameters) for sql, parameters in found]


def _plan(engine: Engine, sql: str, parameters: Any) -> str:
    """A statement, and below it the steps in which the engine would run it."""
    explain = "EXPLAIN QUERY PLAN " if engine.kind == "sqlite" else "EXPLAIN "
    steps = engine.database.execute_sql(explain + sql, parameters).fetchall()
    return "\n".join([sql, *(str(step[-1]) for step in steps)])


def scans(plan: str, small: tuple[str, ...] = ()) -> bool:
    """Whether a plan reads a growing table from one end to the other; all of an index named ``small`` is fine."""
    return any(_WHOLE.search(step) and not _reads(step, small) for step in plan.splitlines()[1:])


def sorts(plan: str, small: tuple[str, ...] = ()) -> bool:
    """Whether a plan sorts what no index has in order; the rows of an index named ``small`` may be sorted."""
    steps = plan.splitlines()[1:]
    return any(_SORT.search(step) for step in steps) and not any(_reads(step, small) for step in steps)


def _reads(step: str, indexes: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b(INDEX|using|on) {index}\b", step) for index in indexes)


def cost(engine: Engine, call: Callable[[], Any]) -> int:
    """What ``call`` costs: on SQLite steps of its virtual machine, on PostgreSQL pages and rows touched."""
    return _steps(engine, call) if engine.kind == "sqlite" else _pages_and_rows(engine, call)


def _steps(engine: Engine, call: Callable[[], Any]) -> int:
    steps = itertools.count()

    with undone():
        connection = engine.database.connection()
        connection.set_progress_handler(lambda: next(steps) < 0, 1)
        try:
            call()
        finally:
            connection.set_progress_handler(None, 0)
    return next(steps)


def _pages_and_rows(engine: Engine, call: Callable[[], Any]) -> int:
    """The statements are run again, explained; each finds what those before it left, as the first time."""
    total = 0
    found = statements(engine, call)
    with undone():
        for sql, parameters in found:
            row = engine.database.execute_sql("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, parameters).fetchone()
            [explained] = row[0] if isinstance(row[0], list) else json.loads(row[0])
            root = explained["Plan"]
            pages = int(root["Shared Hit Blocks"]) + int(root["Shared Read Blocks"])
            total += pages + sum(map(_rows, _nodes(root)))
    return total


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", ()):
        yield from _nodes(each)


def _rows(node: dict[str, Any]) -> int:
    """Rows that a step of a plan read, those it then left out included."""
    seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int(seen * node["Actual Loops"])


def analyze(engine: Engine) -> None:
    """Let PostgreSQL know what is there, as its autovacuum would; nobody tells SQLite."""
    if engine.kind == "postgresql":
        with psycopg.connect(engine.url, autocommit=True) as other:
            other.execute("VACUUM ANALYZE")
