"""Between rows and domain values: the only place that knows how a job is spread over columns."""

from __future__ import annotations

import hashlib
import json
from collections import namedtuple
from typing import Any

from foreman.domain.came_with import CameWith
from foreman.domain.job import Artifact, Job, JobFailure, JobRequest, Limits, Moment, Priority, Webhook
from foreman.domain.lifecycle import Cause, State
from foreman.store.models import ArtifactRow, JobRow, Row, UpstreamRow
from foreman.store.prepared import fields_of

#: The column that keeps when a state was entered.
ENTERED = {
    State.QUEUED: "created_at",
    State.LOADING: "loading_at",
    State.WORKING: "working_at",
    State.DONE: "ended_at",
    State.FAILED: "ended_at",
}


def row_type(model: type[Row]) -> Any:  # noqa: ANN401  (a type that is made here)
    """A tuple for a new row of ``model``, for an ``Insertion``; what is not given is its default, or null."""
    fields = fields_of(model)
    names = [each.name for each in fields]
    return namedtuple(model.__name__, names, defaults=[each.default for each in fields])  # noqa: PYI024  (as names vary)


#: The row of a new job.
NewJob = row_type(JobRow)


def job_from_row(row: JobRow) -> Job:
    """The job that ``row`` holds: a model, or what a prepared statement returns."""
    state = State(row.state)
    return Job(
        id=row.id,
        state=state,
        model=row.model,
        priority=Priority(row.priority),
        metadata=json.loads(row.metadata),
        limits=Limits(
            ttl_s=row.ttl_s,
            start_deadline_s=row.start_deadline_s,
            load_timeout_s=row.load_timeout_s,
            exec_timeout_s=row.exec_timeout_s,
            stall_timeout_s=row.stall_timeout_s,
            max_attempts=row.max_attempts,
        ),
        webhook=_webhook(row),
        attempt=row.attempt,
        created_at=row.created_at,
        reached=_reached(row, state),
        expires_at=row.expires_at,
        stats=None if row.stats is None or state is not State.DONE else json.loads(row.stats),
        failure=failure_from_row(row),
        version=row.version,
        came_with=CameWith(row.request_id, row.traceparent),
    )


def failure_from_row(row: JobRow | UpstreamRow) -> JobFailure | None:
    """What is wrong, where something is."""
    code = row.error_code
    return None if code is None else JobFailure(Cause(code), row.error_message or "", row.error_status)


def _reached(row: JobRow, state: State) -> tuple[tuple[State, Moment], ...]:
    passed = ((each, getattr(row, ENTERED[each])) for each in (State.QUEUED, State.LOADING, State.WORKING))
    ended = ((state, row.ended_at),) if row.ended_at is not None else ()
    return tuple((each, at) for each, at in passed if at is not None) + ended


def _webhook(row: JobRow) -> Webhook | None:
    if row.webhook_url is None:
        return None
    events = None if row.webhook_events is None else frozenset(State(each) for each in json.loads(row.webhook_events))
    return Webhook(row.webhook_url, events)


def job_columns(job_id: str, request: JobRequest, key: str | None, now: Moment) -> dict[str, Any]:
    """The row of a job that was just submitted: queued, and ready to be claimed."""
    limits = request.limits
    webhook = request.webhook
    return {
        "id": job_id,
        "state": str(State.QUEUED),
        "model": request.model,
        "priority": int(request.priority),
        "metadata": to_text(request.metadata),
        "webhook_url": webhook.url if webhook else None,
        "webhook_events": to_text(sorted(webhook.events)) if webhook and webhook.events is not None else None,
        "ttl_s": limits.ttl_s,
        "start_deadline_s": limits.start_deadline_s,
        "load_timeout_s": limits.load_timeout_s,
        "exec_timeout_s": limits.exec_timeout_s,
        "stall_timeout_s": limits.stall_timeout_s,
        "max_attempts": limits.max_attempts,
        "created_at": now,
        "start_by": None if limits.start_deadline_s is None else now + round(limits.start_deadline_s * 1000),
        "ready_at": now,
        "idempotency_key": key,
        "digest": request.digest,
        "request_id": request.came_with.request_id,
        "traceparent": request.came_with.traceparent,
    }


def to_text(value: object) -> str:
    """``value`` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def label(key: str, value: str) -> str:
    """The digest under which metadata ``key`` = ``value`` is found."""
    return hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()[:32]


def labels(metadata: dict[str, Any]) -> set[str]:
    """The digests of all top-level scalars; a string stands for itself, anything else for its JSON text."""
    return {
        label(key, value if isinstance(value, str) else to_text(value))
        for key, value in metadata.items()
        if not isinstance(value, dict | list)
    }


def error_columns(failure: JobFailure) -> dict[str, Any]:
    """A failure as a row keeps it."""
    return {"error_code": str(failure.code), "error_message": failure.message, "error_status": failure.upstream_status}


def artifact_from_row(row: ArtifactRow) -> Artifact:
    """The artifact that ``row`` describes, with its bytes where the row has them."""
    return Artifact(
        job_id=row.job_id,
        name=row.name,
        content_type=row.content_type,
        size_b=row.size_b,
        sha256=row.sha256,
        data=None if row.data is None else bytes(row.data),
        location=row.location,
    )
