"""What the database says, read past foreman: by SQL, on a connection of its own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.chaos.judge import EventEnd, JobEnd, Try

_JOBS = (
    "SELECT id, state, error_code, loading_at, working_at,"
    " (SELECT COUNT(*) FROM artifacts WHERE job_id = id AND name = 'completion' AND stored_at IS NOT NULL)"
    " FROM jobs"
)
_EVENTS = "SELECT job_id, sequence, state, status FROM events"
_TRIES = "SELECT job_id, sequence, attempt, status FROM attempts"
_OPEN = (
    "SELECT (SELECT COUNT(*) FROM jobs WHERE state NOT IN ('done', 'failed')),"
    " (SELECT COUNT(*) FROM events WHERE status = 'pending')"
)

#: What PostgreSQL says of the connections of one process.
_CONNECTIONS = "SELECT state FROM pg_stat_activity WHERE application_name = '{}'"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The database at a URL as ``database.url`` has it."""

    url: str

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.startswith("sqlite:")

    def is_in_transaction(self, process: str) -> bool:
        """Whether PostgreSQL waits, within a transaction, for a process that it knows by this name."""
        while "active" in (states := {state for (state,) in self._rows(_CONNECTIONS.format(process))}):
            time.sleep(0.01)
        return any(state.startswith("idle in transaction") for state in states)

    def open(self) -> tuple[int, int]:
        """Jobs that have not ended, and events that are pending."""
        [(jobs, events)] = self._rows(_OPEN)
        return int(jobs), int(events)

    def jobs(self) -> Sequence[JobEnd]:
        """Every job."""
        return [_job_end(row) for row in self._rows(_JOBS)]

    def events(self) -> Sequence[EventEnd]:
        """Every event."""
        return [EventEnd(*row) for row in self._rows(_EVENTS)]

    def tries(self) -> Sequence[Try]:
        """Every try."""
        return [Try(*row) for row in self._rows(_TRIES)]

    def _rows(self, query: str) -> list[Any]:
        if self.is_sqlite:
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
                return connection.execute(query).fetchall()
        with psycopg.connect(self.url) as server:
            return server.execute(query.encode()).fetchall()


def _job_end(row: Sequence[Any]) -> JobEnd:
    job_id, state, error_code, loading_at, working_at, stored = row
    between = [name for name, at in (("loading", loading_at), ("working", working_at)) if at is not None]
    ended = [state] if state in {"done", "failed"} else []
    return JobEnd(job_id, state, error_code, ("queued", *between, *ended), stored=stored > 0)
