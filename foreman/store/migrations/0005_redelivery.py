"""Redelivery: an event's schedule can begin anew, and events can be listed by what became of them."""

from __future__ import annotations

from typing import Any

#: By status an event is in one index at a time, or in two while it is dead.
STATEMENTS = (
    "ALTER TABLE events ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    "UPDATE events SET tries = attempts WHERE status = 'pending'",
    "DROP INDEX events_pending",
    "DROP INDEX events_dead",
    "CREATE INDEX events_pending ON events (job_id, sequence) WHERE status = 'pending'",
    "CREATE INDEX events_dead ON events (job_id, sequence) WHERE status = 'dead'",
    "CREATE INDEX events_dead_since ON events (created_at, job_id, sequence) WHERE status = 'dead'",
    "CREATE INDEX events_delivered ON events (job_id, sequence) WHERE status = 'delivered'",
    "CREATE INDEX events_skipped ON events (job_id, sequence) WHERE status = 'skipped'",
)


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Add the column and the indexes."""
    for statement in STATEMENTS:
        database.execute_sql(statement)
