"""A database with many jobs that have ended, written by the engine itself, and a short queue beside them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from foreman import clock
from foreman.clock import first_id
from foreman.store import database
from tests.plans import analyze
from tests.postgres import PostgresServer
from tests.stores import Engine, Stores, opened

#: Jobs that wait, whatever is stored: what a claim chooses from.
QUEUED = 100
#: Jobs that may be removed are older than this, by their ``expires_at``.
_DAY_MS = 86_400_000

_NUMBERS = """
WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < :last),
numbers (n, id, at) AS (SELECT n, ':head' || CAST(1000000000000000 + n AS TEXT), :since + n FROM counted)
"""

#: Each with its payload, its completion, and its last event, which was delivered at the first try.
_ROWS = (
    """
INSERT INTO jobs (id, state, model, priority, metadata, webhook_url, webhook_stopped, ttl_s, load_timeout_s,
    exec_timeout_s, stall_timeout_s, attempt, losses, created_at, loading_at, working_at, ended_at, expires_at,
    lease_token, version, digest, owner)
:numbers
SELECT id, 'done', 'model' || CAST(n % 5 AS TEXT), 1, '{}', 'https://host.example.com/hook', FALSE, 60, 60, 60, 60, 1,
    0, at, at, at, at, at + 60000, 1, 4, '', '' FROM numbers
""",
    "INSERT INTO payloads (job_id, body) :numbers SELECT id, CAST('{}' AS :blob) FROM numbers",
    """
INSERT INTO artifacts (job_id, name, content_type, size_b, sha256, data, created_at, stored_at)
:numbers SELECT id, 'completion', 'application/json', 2, '', CAST('{}' AS :blob), at, at FROM numbers
""",
    """
INSERT INTO events (job_id, sequence, state, created_at, body, origin, status, attempts, tries, lease_token)
:numbers
SELECT id, 4, 'done', at, CAST('{}' AS :blob), 'https://host.example.com', 'delivered', 1, 1, 1 FROM numbers
""",
    "INSERT INTO attempts (job_id, sequence, attempt, at, status) :numbers SELECT id, 4, 1, at, 200 FROM numbers",
)


def make(exits: ExitStack, place: Path, postgres: PostgresServer | None, count: int) -> Engine:
    """A database with ``count`` ended jobs, all expired a day ago, and a queue; opened as long as ``exits`` lasts."""
    place.mkdir(parents=True, exist_ok=True)
    if postgres is None:
        engine = exits.enter_context(opened("sqlite", f"sqlite:///{place}/{count}.db"))
    else:
        engine = exits.enter_context(opened("postgresql", postgres.create(f"stored{count}")))
    _fill(engine, count)
    return engine


def _fill(engine: Engine, count: int) -> None:
    now = clock.now()
    since = now - 2 * _DAY_MS
    blob = "BLOB" if engine.kind == "sqlite" else "BYTEA"
    parts = {":last": str(count - 1), ":head": first_id(since), ":since": str(since), ":blob": blob}
    with database.write():
        connection: Any = engine.database.connection()
        for rows in _ROWS:
            sql = rows.replace(":numbers", _NUMBERS)
            for name, value in parts.items():
                sql = sql.replace(name, value)
            connection.execute(sql)
    stores = Stores(max_queue=10 * QUEUED)
    for _ in range(QUEUED):
        stores.submit(at=now)
    analyze(engine)


def prune(stores: Stores, batch: int) -> int:
    """What ``services/prune.py`` does for one batch of jobs without an object; returns how many went."""
    now = clock.now()
    expired = stores.pruning.expired(now, batch)
    if not expired:
        return 0
    assert not stores.pruning.locations(expired)
    return stores.pruning.remove(expired, now)


def middle(engine: Engine, count: int) -> str:
    """The id of a job in the middle of them."""
    [[job_id]] = engine.rows(f"SELECT id FROM jobs ORDER BY id LIMIT 1 OFFSET {count // 2}")  # noqa: S608  a number
    return str(job_id)
