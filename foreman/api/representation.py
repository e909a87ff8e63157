"""A job as the API writes it: the whole of ``GET /jobs/{id}`` and the summary in a listing. Contract section 2."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from foreman.api import shown
from foreman.domain.job import Artifact, Failure, Job
from foreman.domain.json_value import compact
from foreman.domain.moment import rfc3339, rfc3339_or_none
from foreman.store.events import EventStatus
from foreman.store.line import Outlook


def summary(job: Job) -> shown.JobSummary:
    """A job in a listing: without ``queue_position``, ``eta_s``, ``result``, ``artifacts`` and ``webhook``.

    Those are what takes another query for each job; the job itself, one GET away, has them.
    """
    return {**_identity(job), "error": _error(job)}


@dataclass(frozen=True, slots=True)
class Document:
    """A job as JSON, and its entity tag: that of all but ``eta_s``, which is another at every look."""

    body: bytes
    etag: str


def document(  # noqa: PLR0913  one argument for each table that a job is spread over
    job: Job,
    *,
    outlook: Outlook,
    completion: bytes | None,
    artifacts: Sequence[Artifact],
    events: Sequence[EventStatus],
    public_url: str,
) -> Document:
    """The job as JSON.

    ``completion`` is the native response object, whose very bytes become ``result``; ``None`` for a job that has none
    or one over the inline limit: then ``result`` is its stats, if there are any.
    """
    head = compact(_identity(job) | {"queue_position": outlook.position})[:-1]
    result = compact(job.stats) if completion is None else completion
    tail: shown.JobTail = {
        "error": _error(job),
        "artifacts": [_artifact(each, job, public_url) for each in artifacts],
        "webhook": None
        if job.webhook is None
        else {"url": job.webhook.url, "events": [_event(each) for each in events]},
    }
    rest = b',"result":' + result + b"," + compact(tail)[1:]
    return Document(head + b',"eta_s":' + compact(outlook.eta_s) + rest, _etag(head + rest))


def accepted(job: Job, queue_position: int | None) -> bytes:
    """The answer to a submission; ``state`` is past ``queued`` only for a job that was submitted before."""
    path = location(job.id)
    told: shown.Accepted = {
        "job_id": job.id,
        "state": job.state,
        "queue_position": queue_position,
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }
    return compact(told)


def location(job_id: str) -> str:
    """The path of a job."""
    return f"/jobs/{job_id}"


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _identity(job: Job) -> shown.JobIdentity:
    return {
        "job_id": job.id,
        "state": job.state,
        "model": job.model,
        "priority": job.priority.label,
        "metadata": job.metadata,
        "attempt": job.attempt,
        "created_at": rfc3339(job.created_at),
        "expires_at": rfc3339_or_none(job.expires_at),
        "timestamps": _timestamps(job),
    }


def _timestamps(job: Job) -> shown.Timestamps:
    entered: shown.Timestamps = {}
    for state, at in job.reached:
        entered[state.value] = rfc3339(at)
    return entered


def _error(job: Job) -> Failure | None:
    return None if job.failure is None else job.failure.as_json()


def _artifact(artifact: Artifact, job: Job, public_url: str) -> shown.ArtifactEntry:
    return {
        "name": artifact.name,
        "content_type": artifact.content_type,
        "size_b": artifact.size_b,
        "sha256": artifact.sha256,
        "url": f"{public_url}{location(job.id)}/artifacts/{artifact.name}",
        "expires_at": rfc3339_or_none(job.expires_at),
    }


def _event(event: EventStatus) -> shown.EventEntry:
    return {
        "state": event.state,
        "sequence": event.sequence,
        "status": event.status,
        "attempts": event.attempts,
        "last_status": event.last_status,
        "last_error": event.last_error,
        "next_attempt_at": rfc3339_or_none(event.next_attempt_at),
        "delivered_at": rfc3339_or_none(event.delivered_at),
    }
