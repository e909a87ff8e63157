"""The tables, as peewee sees them; ``migrations/`` makes them, and a test holds the two together.

Moments are milliseconds since the epoch. JSON is kept as text: it is read whole, never queried.
"""

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    CompositeKey,
    DoubleField,
    IntegerField,
    Model,
    SmallIntegerField,
    TextField,
)

from foreman.store.database import proxy


class Row(Model):
    """What all tables share: the process's one database."""

    class Meta:
        """Peewee's options."""

        database = proxy


class JobRow(Row):
    """A job less its payload: every transition rewrites this row, so it is kept small."""

    id = CharField(max_length=26, primary_key=True)
    state = CharField(max_length=8)
    model = TextField()
    priority = SmallIntegerField()
    metadata = TextField()
    webhook_url = TextField(null=True)
    #: JSON list of states, null for all.
    webhook_events = TextField(null=True)
    #: The receiver answered 410: later events of this job are skipped.
    webhook_stopped = BooleanField(default=False)
    ttl_s = DoubleField()
    start_deadline_s = DoubleField(null=True)
    load_timeout_s = DoubleField()
    exec_timeout_s = DoubleField()
    stall_timeout_s = DoubleField()
    max_attempts = IntegerField(null=True)

    #: Runs begun. ``losses``: how many of them died with their worker.
    attempt = IntegerField(default=0)
    losses = IntegerField(default=0)

    created_at = BigIntegerField()
    #: When a job that is still queued fails; null without a start deadline, or once it has left queued.
    start_by = BigIntegerField(null=True)
    loading_at = BigIntegerField(null=True)
    working_at = BigIntegerField(null=True)
    ended_at = BigIntegerField(null=True)
    expires_at = BigIntegerField(null=True)

    #: From when on the job may be claimed; null while it runs, waits to be stored, or has ended.
    ready_at = BigIntegerField(null=True)
    #: Until when a claim holds; null when nobody runs the job. Each non-null one is a slot in use.
    lease_until = BigIntegerField(null=True)
    #: When the last claim was made; null before the first.
    claimed_at = BigIntegerField(null=True)
    #: Raised by each claim and each expiry: a write under an older token is refused.
    lease_token = IntegerField(default=0)
    #: The upstream that the last claim gave the job to.
    upstream = CharField(max_length=64, null=True)
    #: The upstream that failed the last run, or did not take it: another that can run the job goes first.
    avoided = CharField(max_length=64, null=True)
    #: Why somebody wants a running job ended: whoever holds the lease sees to it.
    cancel_code = CharField(max_length=24, null=True)

    #: JSON: the completion's stats.
    stats = TextField(null=True)
    error_code = CharField(max_length=24, null=True)
    error_message = TextField(null=True)
    error_status = IntegerField(null=True)

    version = IntegerField(default=1)
    #: What came with its submission, see ``domain/came_with.py``.
    request_id = CharField(max_length=128, null=True)
    traceparent = CharField(max_length=55, null=True)
    #: The id of the API key that submitted it; empty where keys were off.
    owner = CharField(max_length=26, default="")
    #: As the client sent it, behind the owner and a tab if there is one: each key has its own, and none holds a tab.
    idempotency_key = TextField(null=True, unique=True)
    digest = CharField(max_length=64)

    class Meta:
        """Peewee's options."""

        table_name = "jobs"


class PayloadRow(Row):
    """What is sent upstream: apart from the job, since it is large and never changes."""

    job_id = CharField(max_length=26, primary_key=True)
    body = BlobField()

    class Meta:
        """Peewee's options."""

        table_name = "payloads"


class LabelRow(Row):
    """One top-level scalar of a job's metadata, hashed: what ``GET /jobs?metadata.<k>=`` looks up."""

    #: First 32 hex digits of SHA-256 over key, NUL, value as text.
    digest = CharField(max_length=32)
    job_id = CharField(max_length=26)

    class Meta:
        """Peewee's options."""

        table_name = "labels"
        primary_key = CompositeKey("digest", "job_id")


class EventRow(Row):
    """The outbox: one row for each state a job with a webhook reached, written with the transition."""

    job_id = CharField(max_length=26)
    #: From 1 in the order of the states reached.
    sequence = SmallIntegerField()
    state = CharField(max_length=8)
    created_at = BigIntegerField()
    #: The exact bytes sent on every try; null when skipped.
    body = BlobField(null=True)
    origin = TextField(null=True)
    #: pending, delivered, dead or skipped.
    status = CharField(max_length=9)
    attempts = IntegerField(default=0)
    #: Those of them since the event was built or last redelivered: what its schedule counts.
    tries = IntegerField(default=0)
    #: When the next try is due; null unless it is this event's turn among the job's pending ones: see ``turns.py``.
    next_attempt_at = BigIntegerField(null=True)
    #: Until when a sender holds the event; null when none does. Each non-null one is a connection to the origin.
    lease_until = BigIntegerField(null=True)
    lease_token = IntegerField(default=0)
    last_status = IntegerField(null=True)
    last_error = TextField(null=True)
    delivered_at = BigIntegerField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "events"
        primary_key = CompositeKey("job_id", "sequence")


class OriginRow(Row):
    """A webhook origin whose last try failed; one of which nothing bad is known has no row."""

    origin = TextField(primary_key=True)
    #: Tries that failed in a row; how often the circuit has opened since it was last closed.
    failures = IntegerField(default=0)
    openings = IntegerField(default=0)
    #: Since when the circuit has not been closed, and until when nothing is sent; both null while it is closed.
    opened_at = BigIntegerField(null=True)
    open_until = BigIntegerField(null=True)
    last_status = IntegerField(null=True)
    last_error = TextField(null=True)
    changed_at = BigIntegerField(default=0)

    class Meta:
        """Peewee's options."""

        table_name = "origins"


class AttemptRow(Row):
    """One try to deliver an event; ``status`` and ``error`` both null: its outcome is unknown."""

    job_id = CharField(max_length=26)
    sequence = SmallIntegerField()
    attempt = IntegerField()
    at = BigIntegerField()
    duration_ms = IntegerField(null=True)
    status = IntegerField(null=True)
    error = TextField(null=True)
    #: At most 1 KiB of what the receiver answered.
    excerpt = TextField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "attempts"
        primary_key = CompositeKey("job_id", "sequence", "attempt")


class ArtifactRow(Row):
    """A result. ``stored_at`` is null between the end of the run and its storing: it is not shown until then."""

    job_id = CharField(max_length=26)
    name = CharField(max_length=64)
    content_type = TextField()
    size_b = BigIntegerField()
    sha256 = CharField(max_length=64)
    data = BlobField(null=True)
    location = TextField(null=True)
    created_at = BigIntegerField()
    stored_at = BigIntegerField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "artifacts"
        primary_key = CompositeKey("job_id", "name")


class TombstoneRow(Row):
    """An id that was pruned or deleted: it answers 410 as long as this row lives."""

    job_id = CharField(max_length=26, primary_key=True)
    at = BigIntegerField()
    #: As the job had it: to all others the id never was.
    owner = CharField(max_length=26, default="")

    class Meta:
        """Peewee's options."""

        table_name = "tombstones"


class UpstreamRow(Row):
    """An upstream as all workers share it. Locking this row is what serialises claims on PostgreSQL."""

    name = CharField(max_length=64, primary_key=True)
    #: Tries in a row that it did not take.
    failures = IntegerField(default=0)
    #: Until when it is left alone, and the cause of that.
    held_until = BigIntegerField(default=0)
    held_for = CharField(max_length=24, null=True)
    #: The model of the job that it was given last, and for how many in a row nothing had to be loaded.
    model = TextField(null=True)
    streak = IntegerField(default=0)
    #: When it was last probed, and what was wrong then.
    checked_at = BigIntegerField(null=True)
    error_code = CharField(max_length=24, null=True)
    error_message = TextField(null=True)
    error_status = IntegerField(null=True)
    #: JSON lists of models, as it last told: those that it has, null if it does not say, and those in its memory, null
    #: once another may have been put there.
    available = TextField(null=True)
    loaded = TextField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "upstreams"


class ApiKeyRow(Row):
    """An API key; the secret itself is kept nowhere."""

    id = CharField(max_length=26, primary_key=True)
    name = TextField()
    #: SHA-256 of the secret, hex.
    digest = CharField(max_length=64)
    admin = BooleanField()
    created_at = BigIntegerField()
    revoked_at = BigIntegerField(null=True)
    #: What it allows; null for no limit. ``max_priority`` is a priority's number.
    max_queued = IntegerField(null=True)
    max_priority = SmallIntegerField(null=True)
    per_minute = IntegerField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "api_keys"


class SessionRow(Row):
    """A sign-in to the page; the token itself is kept nowhere but in the browser."""

    #: SHA-256 of the token, hex.
    digest = CharField(max_length=64, primary_key=True)
    key_id = CharField(max_length=26)
    expires_at = BigIntegerField()

    class Meta:
        """Peewee's options."""

        table_name = "sessions"


class ClockRow(Row):
    """One row: the latest moment that a process has seen, and the last setback."""

    id = SmallIntegerField(primary_key=True)
    seen_at = BigIntegerField()
    #: By the clock after it; both null until there was one.
    set_back_at = BigIntegerField(null=True)
    set_back_by_ms = BigIntegerField(null=True)

    class Meta:
        """Peewee's options."""

        table_name = "clock"


class TimingRow(Row):
    """What loads and runs of a model took on an upstream; the means forget slowly, the counts do not."""

    upstream = CharField(max_length=64)
    model = TextField()
    #: Null until a load was measured.
    load_ms = DoubleField(null=True)
    loads = IntegerField()
    run_ms = DoubleField()
    runs = IntegerField()

    class Meta:
        """Peewee's options."""

        table_name = "timings"
        primary_key = CompositeKey("upstream", "model")


class CounterRow(Row):
    """One number of ``/metrics`` that processes add up: a counter, or one part of a histogram."""

    name = CharField(max_length=64)
    #: JSON list of the labels' values, in the metric's order.
    labels = TextField()
    #: As ``tally.Series`` has it.
    part = CharField(max_length=16)
    #: The label ``model``; null where the metric has none.
    model = TextField(null=True)
    value = DoubleField()
    changed_at = BigIntegerField()

    class Meta:
        """Peewee's options."""

        table_name = "counters"
        primary_key = CompositeKey("name", "labels", "part")


#: Every table, in the order in which the migrations make them.
TABLES: tuple[type[Row], ...] = (
    JobRow,
    PayloadRow,
    LabelRow,
    EventRow,
    OriginRow,
    AttemptRow,
    ArtifactRow,
    TombstoneRow,
    UpstreamRow,
    ApiKeyRow,
    ClockRow,
    TimingRow,
    CounterRow,
    SessionRow,
)
