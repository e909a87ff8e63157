"""API keys, and whose each job is."""

from __future__ import annotations

from typing import Any

# The indexes hold only jobs that were submitted with a key: without keys they cost nothing.
STATEMENTS = """
CREATE TABLE api_keys (
    id VARCHAR(26) NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest VARCHAR(64) NOT NULL,
    admin BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    max_queued INTEGER,
    max_priority SMALLINT,
    per_minute INTEGER
);

ALTER TABLE jobs ADD COLUMN owner VARCHAR(26) NOT NULL DEFAULT '';
CREATE INDEX jobs_owner ON jobs (owner, id) WHERE owner <> '';
CREATE INDEX jobs_owner_queued ON jobs (owner) WHERE owner <> '' AND state = 'queued';

ALTER TABLE tombstones ADD COLUMN owner VARCHAR(26) NOT NULL DEFAULT ''
"""


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make them."""
    for statement in STATEMENTS.split(";"):
        database.execute_sql(statement)
