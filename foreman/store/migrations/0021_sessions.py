"""Sign-ins to the page."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make the table."""
    database.execute_sql(
        "CREATE TABLE sessions (digest VARCHAR(64) NOT NULL PRIMARY KEY, key_id VARCHAR(26) NOT NULL,"
        " expires_at BIGINT NOT NULL)"
    )
