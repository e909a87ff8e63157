"""Webhook origins whose tries fail, and their circuits."""

from __future__ import annotations

from typing import Any

STATEMENTS = """
CREATE TABLE origins (
    origin TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    openings INTEGER NOT NULL,
    opened_at BIGINT,
    open_until BIGINT,
    last_status INTEGER,
    last_error TEXT,
    changed_at BIGINT NOT NULL
);
CREATE INDEX origins_open ON origins (open_until) WHERE open_until IS NOT NULL
"""


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make the table and its index."""
    for statement in STATEMENTS.split(";"):
        database.execute_sql(statement)
