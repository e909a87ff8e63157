"""The latest moment that a sweep has seen: by it a clock that was set back is noticed."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make the table; it is empty until the first sweep."""
    database.execute_sql("CREATE TABLE clock (id SMALLINT NOT NULL PRIMARY KEY, seen_at BIGINT NOT NULL)")
