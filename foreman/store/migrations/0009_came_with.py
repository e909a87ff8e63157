"""What came with the request that submitted a job: its id, and the trace that it is part of."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Add the columns."""
    for column in ("request_id VARCHAR(128)", "traceparent VARCHAR(55)"):
        database.execute_sql(f"ALTER TABLE jobs ADD COLUMN {column}")
