"""The values a job is made of, frozen: what was asked for, what is so now, and what one run of it holds.

A moment (``*_at``, ``now``) is an ``int``: milliseconds since the Unix epoch. Durations say their unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NotRequired, TypedDict

from foreman.domain.came_with import NOTHING, CameWith
from foreman.domain.lifecycle import RETRYABLE, Cause, State

#: Milliseconds since the Unix epoch.
Moment = int


class Priority(IntEnum):
    """Who goes first; the value is what the database sorts by, the name what the API speaks."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2

    @property
    def label(self) -> str:
        """The name in JSON, metrics and logs."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often a job may try; seconds, ``None`` for no limit of its own."""

    ttl_s: float
    start_deadline_s: float | None
    load_timeout_s: float
    exec_timeout_s: float
    stall_timeout_s: float
    #: Runs in all. ``None``: the submitter did not say, so ``jobs.max_attempts`` holds, and a run that the upstream
    #: never began (connection refused, 503) is not counted.
    max_attempts: int | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to announce states, and which; ``events`` ``None`` means all."""

    url: str
    events: frozenset[State] | None

    def wants(self, state: State) -> bool:
        """Whether the submitter asked to be told of ``state``."""
        return self.events is None or state in self.events


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A valid submission: ``payload`` is the body less foreman's own keys, as JSON bytes, sent upstream untouched."""

    model: str
    payload: bytes
    metadata: dict[str, Any]
    priority: Priority
    limits: Limits
    webhook: Webhook | None
    #: SHA-256 (hex) of the whole body in canonical form: what an ``Idempotency-Key`` is bound to.
    digest: str
    came_with: CameWith = NOTHING


class Failure(TypedDict):
    """Why a job failed, or an upstream is left alone."""

    code: Cause
    message: str
    retryable: bool
    upstream_status: NotRequired[int]


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed: ``error`` in JSON. ``message`` is for people and holds no path, secret or address."""

    code: Cause
    message: str
    upstream_status: int | None = None

    def as_json(self) -> Failure:
        """``{"code", "message", "retryable"}`` and ``"upstream_status"`` where the upstream gave one."""
        body: Failure = {"code": self.code, "message": self.message, "retryable": self.code in RETRYABLE}
        if self.upstream_status is not None:
            body["upstream_status"] = self.upstream_status
        return body


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored, less its payload and its artifacts' bytes."""

    id: str
    state: State
    model: str
    priority: Priority
    metadata: dict[str, Any]
    limits: Limits
    webhook: Webhook | None
    attempt: int
    created_at: Moment
    #: The moment each reached state was entered, in order.
    reached: tuple[tuple[State, Moment], ...]
    #: ``None`` until the job ends.
    expires_at: Moment | None
    #: The native response object's stats (all but ``message``); ``None`` unless ``done``.
    stats: dict[str, Any] | None
    failure: JobFailure | None
    #: Raised by every change of the row: what ``ETag`` is made of.
    version: int
    came_with: CameWith = NOTHING


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one job until the lease ends; ``token`` fences every write made under it."""

    job: Job
    payload: bytes
    token: int
    #: The name of the upstream whose slot this is.
    upstream: str
    #: Whether its model should be in memory there, as far as is known.
    warm: bool
    #: Runs of this job that died with their worker: they are part of ``job.attempt`` and use up no attempt.
    losses: int
    #: Tries in a row that the upstream did not take, of whatever job: the next wait grows with them.
    upstream_failures: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one whole run took: from the preload to its answer, from the real call to the completion."""

    #: ``None``: the model was in memory already.
    load_ms: float | None
    run_ms: float


@dataclass(frozen=True, slots=True)
class NoClaim:
    """There is nothing to run now: no job is ready, or no upstream that could run it has a free slot or is well."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored result. ``data`` is the bytes when they are kept in the row, else ``location`` names the object."""

    job_id: str
    name: str
    content_type: str
    size_b: int
    sha256: str
    data: bytes | None = field(default=None, repr=False)
    location: str | None = None
