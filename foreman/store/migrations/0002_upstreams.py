"""What a probe finds of an upstream, why it is held, and which upstream a job had better not go to again."""

from __future__ import annotations

from typing import Any

CHANGES = """
ALTER TABLE upstreams ADD COLUMN held_for VARCHAR(24);
ALTER TABLE upstreams ADD COLUMN checked_at BIGINT;
ALTER TABLE upstreams ADD COLUMN error_code VARCHAR(24);
ALTER TABLE upstreams ADD COLUMN error_message TEXT;
ALTER TABLE upstreams ADD COLUMN error_status INTEGER;
ALTER TABLE upstreams ADD COLUMN available TEXT;
ALTER TABLE upstreams ADD COLUMN loaded TEXT;
ALTER TABLE jobs ADD COLUMN avoided VARCHAR(64)
"""


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Add the columns."""
    for statement in CHANGES.split(";"):
        database.execute_sql(statement)
