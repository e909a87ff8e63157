"""What loads and runs took, and since when a job has been claimed: what an estimate rests on."""

from __future__ import annotations

from typing import Any

STATEMENTS = (
    "ALTER TABLE jobs ADD COLUMN claimed_at BIGINT",
    """
    CREATE TABLE timings (
        upstream VARCHAR(64) NOT NULL,
        model TEXT NOT NULL,
        load_ms DOUBLE PRECISION,
        loads INTEGER NOT NULL,
        run_ms DOUBLE PRECISION NOT NULL,
        runs INTEGER NOT NULL,
        PRIMARY KEY (upstream, model)
    )
    """,
)


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Add the column and the table."""
    for statement in STATEMENTS:
        database.execute_sql(statement)
