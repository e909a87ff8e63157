"""The first schema: jobs and what hangs on them, the outbox, artifacts, tombstones, upstreams."""

from __future__ import annotations

from typing import Any

from peewee import PostgresqlDatabase

TABLES = """
CREATE TABLE jobs (
    id VARCHAR(26) NOT NULL PRIMARY KEY,
    state VARCHAR(8) NOT NULL,
    model TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    metadata TEXT NOT NULL,
    webhook_url TEXT,
    webhook_events TEXT,
    webhook_stopped BOOLEAN NOT NULL,
    ttl_s DOUBLE PRECISION NOT NULL,
    start_deadline_s DOUBLE PRECISION,
    load_timeout_s DOUBLE PRECISION NOT NULL,
    exec_timeout_s DOUBLE PRECISION NOT NULL,
    stall_timeout_s DOUBLE PRECISION NOT NULL,
    max_attempts INTEGER,
    attempt INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    start_by BIGINT,
    loading_at BIGINT,
    working_at BIGINT,
    ended_at BIGINT,
    expires_at BIGINT,
    ready_at BIGINT,
    lease_until BIGINT,
    lease_token INTEGER NOT NULL,
    upstream VARCHAR(64),
    cancel_code VARCHAR(24),
    stats TEXT,
    error_code VARCHAR(24),
    error_message TEXT,
    error_status INTEGER,
    version INTEGER NOT NULL,
    idempotency_key TEXT UNIQUE,
    digest VARCHAR(64) NOT NULL
);
CREATE INDEX jobs_ready ON jobs (priority, ready_at, id) WHERE ready_at IS NOT NULL;
CREATE INDEX jobs_ready_model ON jobs (priority, model, ready_at, id) WHERE ready_at IS NOT NULL;
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX jobs_start ON jobs (start_by) WHERE start_by IS NOT NULL;
CREATE INDEX jobs_queued ON jobs (priority, id) WHERE state = 'queued';
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_model ON jobs (model, id);
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE payloads (job_id VARCHAR(26) NOT NULL PRIMARY KEY, body {blob} NOT NULL);

CREATE TABLE labels (digest VARCHAR(32) NOT NULL, job_id VARCHAR(26) NOT NULL, PRIMARY KEY (digest, job_id));
CREATE INDEX labels_job ON labels (job_id);

CREATE TABLE events (
    job_id VARCHAR(26) NOT NULL,
    sequence SMALLINT NOT NULL,
    state VARCHAR(8) NOT NULL,
    created_at BIGINT NOT NULL,
    body {blob},
    origin TEXT,
    status VARCHAR(9) NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at BIGINT,
    lease_until BIGINT,
    lease_token INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT,
    delivered_at BIGINT,
    PRIMARY KEY (job_id, sequence),
    UNIQUE (job_id, state)
);
CREATE INDEX events_due ON events (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX events_origin_due ON events (origin, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX events_sending ON events (origin) WHERE lease_until IS NOT NULL;
CREATE INDEX events_pending ON events (job_id) WHERE status = 'pending';
CREATE INDEX events_dead ON events (job_id) WHERE status = 'dead';

CREATE TABLE attempts (
    job_id VARCHAR(26) NOT NULL,
    sequence SMALLINT NOT NULL,
    attempt INTEGER NOT NULL,
    at BIGINT NOT NULL,
    duration_ms INTEGER,
    status INTEGER,
    error TEXT,
    excerpt TEXT,
    PRIMARY KEY (job_id, sequence, attempt)
);

CREATE TABLE artifacts (
    job_id VARCHAR(26) NOT NULL,
    name VARCHAR(64) NOT NULL,
    content_type TEXT NOT NULL,
    size_b BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    data {blob},
    location TEXT,
    created_at BIGINT NOT NULL,
    stored_at BIGINT,
    PRIMARY KEY (job_id, name)
);
CREATE INDEX artifacts_unstored ON artifacts (created_at) WHERE stored_at IS NULL;

CREATE TABLE tombstones (job_id VARCHAR(26) NOT NULL PRIMARY KEY, at BIGINT NOT NULL);
CREATE INDEX tombstones_at ON tombstones (at);

CREATE TABLE upstreams (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    held_until BIGINT NOT NULL,
    model TEXT,
    streak INTEGER NOT NULL
)
"""


def up(migrator: Any, database: Any) -> None:  # noqa: ANN401, ARG001  (the runner passes both; peewee is untyped)
    """Make the tables and indexes."""
    blob = "BYTEA" if isinstance(database, PostgresqlDatabase) else "BLOB"
    for statement in TABLES.format(blob=blob).split(";"):
        database.execute_sql(statement)
