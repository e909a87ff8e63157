"""Celery on Redis doing foreman's work for a job: the same durable writes, the same two calls of the upstream.

Runs where Celery is installed. ``celery -A celery_jobs worker`` runs the tasks; ``python celery_jobs.py`` takes
a number of jobs per line, submits and awaits them, and prints the seconds that they took.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import sys
import time
from typing import Any

from celery import Celery  # type: ignore[import-not-found]  # of the peers' environment
from celery.signals import worker_process_init  # type: ignore[import-not-found]

DATABASE, UPSTREAM_PORT = os.environ["BENCH_DATABASE"], int(os.environ["BENCH_UPSTREAM_PORT"])
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS artifacts (job_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
# A job that a worker dies with is run again, as with foreman; its result is in the database.
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_send_task_events=False)

_parts: dict[str, Any] = {}


def _database() -> sqlite3.Connection:
    database = sqlite3.connect(DATABASE, timeout=60, isolation_level=None)
    for pragma in ("journal_mode=wal", "synchronous=full", "cache_size=-8000"):
        database.execute(f"PRAGMA {pragma}")
    return database


@worker_process_init.connect  # type: ignore[untyped-decorator]  # untyped
def _connect(**_rest: Any) -> None:
    _parts["database"] = _database()
    _parts["upstream"] = http.client.HTTPConnection("127.0.0.1", UPSTREAM_PORT)


def _commit(database: sqlite3.Connection, *statements: tuple[str, tuple[Any, ...]]) -> None:
    database.execute("BEGIN IMMEDIATE")
    for sql, values in statements:
        database.execute(sql, values)
    database.execute("COMMIT")


def _ask(body: dict[str, Any]) -> bytes:
    upstream = _parts["upstream"]
    upstream.request("POST", "/api/chat", json.dumps(body), {"Content-Type": "application/json"})
    return bytes(upstream.getresponse().read())


@app.task(name="run")  # type: ignore[untyped-decorator]  # untyped
def run(job_id: int) -> None:
    """One job: ``working``, the completion, ``done``: a commit each, as foreman makes them for a model in memory."""
    database = _parts["database"]
    [body] = database.execute("SELECT body FROM jobs WHERE id = ?", (job_id,)).fetchone()
    asked = json.loads(body)
    _ask({"model": asked["model"], "messages": []})
    _commit(database, ("UPDATE jobs SET state = 'working' WHERE id = ?", (job_id,)))
    answer = _ask(asked)
    _commit(database, ("INSERT INTO artifacts VALUES (?, ?)", (job_id, answer)))
    _commit(database, ("UPDATE jobs SET state = 'done' WHERE id = ?", (job_id,)))


def main() -> None:
    """Submit as many jobs as each line says, and print how long it took until the last was done."""
    database = _database()
    database.executescript(_TABLES)
    print("ready", flush=True)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    for line in sys.stdin:
        began = time.monotonic()
        for _ in range(int(line)):
            database.execute("BEGIN IMMEDIATE")
            job_id = database.execute("INSERT INTO jobs (state, body) VALUES ('queued', ?)", (body,)).lastrowid
            database.execute("COMMIT")
            run.delay(job_id)
        while database.execute("SELECT 1 FROM jobs WHERE state <> 'done' LIMIT 1").fetchone():
            time.sleep(0.005)
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main()
