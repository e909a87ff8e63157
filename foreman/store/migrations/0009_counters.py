"""What all processes counted, for ``/metrics``."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make the table: some thousand rows at most."""
    database.execute_sql(
        "CREATE TABLE counters (name VARCHAR(64) NOT NULL, labels TEXT NOT NULL, part VARCHAR(16) NOT NULL, "
        "model TEXT, value DOUBLE PRECISION NOT NULL, changed_at BIGINT NOT NULL, PRIMARY KEY (name, labels, part))"
    )
