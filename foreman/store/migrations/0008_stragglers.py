"""The last setback of the clock: by it what was written across it, by a clock read before, is found."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Two columns, null until a setback is noticed."""
    for column in ("set_back_at", "set_back_by_ms"):
        database.execute_sql(f"ALTER TABLE clock ADD COLUMN {column} BIGINT")
