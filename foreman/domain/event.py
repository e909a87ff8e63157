"""What a webhook receiver gets: the event's body, built once, and the headers that sign each try. Contract section 5.

Body::

    {"id": "<job_id>-<state>", "type": "job.<state>", "timestamp", "job_id", "state", "previous_state", "sequence",
     "terminal", "model", "metadata", "attempt", "error", "history": [{"state", "at"}], "result",
     "artifacts": [{"name", "content_type", "size_b", "sha256", "url", "inline", "data"?}]}

and that of a ping, which no job sends::

    {"id": "ping-<ulid>", "type": "ping", "timestamp"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from foreman.domain.job import Artifact, Failure, Job, Moment
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.moment import rfc3339
from foreman.domain.signature import sign


class Reached(TypedDict):
    """A state and when it was entered."""

    state: State
    at: str


class EventHead(TypedDict):
    """What an event says of its job, in the order of the body."""

    id: str
    type: str
    timestamp: str
    job_id: str
    state: State
    previous_state: State | None
    sequence: int
    terminal: bool
    model: str
    metadata: dict[str, Any]
    attempt: int
    error: Failure | None
    history: list[Reached]
    result: dict[str, Any] | None


class Attached(TypedDict):
    """An artifact of an event; `data` is the JSON itself, and there if it is inline."""

    name: str
    content_type: str
    size_b: int
    sha256: str
    url: str
    inline: bool
    data: NotRequired[Any]


class Event(EventHead):
    """What a receiver is sent of a state that a job has reached: the same bytes on every try."""

    artifacts: list[Attached]


class PingEvent(TypedDict):
    """What a receiver is sent by a ping."""

    id: str
    type: Literal["ping"]
    timestamp: str


def event_id(job_id: str, state: State) -> str:
    """What a receiver dedupes on, the same on every try; without ``.``, as Standard Webhooks signs ``id.time.body``."""
    return f"{job_id}-{state}"


def event_body(job: Job, artifacts: Sequence[Artifact], *, public_url: str, inline_limit_b: int) -> bytes:
    """The event of the state that ``job`` has just reached, as compact JSON in UTF-8.

    ``artifacts`` are those of a job that is ``done``; one of at most ``inline_limit_b`` bytes travels along, its own
    bytes untouched, so that no number is rounded on the way. ``public_url`` is what their URLs begin with.

    Raises: ValueError if the job's metadata or stats hold NaN or an infinity, which JSON has no words for.
    """
    before = job.reached[-2][0] if len(job.reached) > 1 else None
    head: EventHead = {
        "id": event_id(job.id, job.state),
        "type": f"job.{job.state}",
        "timestamp": rfc3339(job.reached[-1][1]),
        "job_id": job.id,
        "state": job.state,
        "previous_state": before,
        "sequence": len(job.reached),
        "terminal": job.state in TERMINAL,
        "model": job.model,
        "metadata": job.metadata,
        "attempt": job.attempt,
        "error": job.failure.as_json() if job.failure else None,
        "history": [{"state": state, "at": rfc3339(at)} for state, at in job.reached],
        "result": job.stats if job.state is State.DONE else None,
    }
    listed = artifacts if job.state is State.DONE else ()
    attached = b",".join(_artifact(each, public_url, inline_limit_b) for each in listed)
    return _dump(head)[:-1] + b',"artifacts":[' + attached + b"]}"


def ping_id(ulid: str) -> str:
    """The id of one ping."""
    return f"ping-{ulid}"


def ping_body(event_id: str, now: Moment) -> bytes:
    """The body of a ping sent ``now``."""
    body: PingEvent = {"id": event_id, "type": "ping", "timestamp": rfc3339(now)}
    return _dump(body)


def event_headers(  # noqa: PLR0913  one argument for each thing the contract's table of headers is made of
    event_id: str,
    body: bytes,
    *,
    secrets: Sequence[bytes],
    now: Moment,
    attempt: int,
    sequence: int,
    user_agent: str,
) -> dict[str, str]:
    """The headers of one try at ``now``, ``attempt`` from 1; without ``secrets`` those of a signature are left out.

    Several secrets, while one is being rotated, give a signature each, the first secret's first.
    """
    seconds = str(now // 1000)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "Idempotency-Key": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": seconds,
        "X-Foreman-Attempt": str(attempt),
        "X-Foreman-Sequence": str(sequence),
    }
    return headers | sign(event_id, seconds, body, secrets)


def _artifact(artifact: Artifact, public_url: str, inline_limit_b: int) -> bytes:
    inline = artifact.data is not None and artifact.size_b <= inline_limit_b
    listed: Attached = {
        "name": artifact.name,
        "content_type": artifact.content_type,
        "size_b": artifact.size_b,
        "sha256": artifact.sha256,
        "url": f"{public_url}/jobs/{artifact.job_id}/artifacts/{artifact.name}",
        "inline": inline,
    }
    if artifact.data is None or not inline:
        return _dump(listed)
    return _dump(listed)[:-1] + b',"data":' + artifact.data + b"}"


def _dump(value: Mapping[str, object]) -> bytes:
    """Compact JSON; a lone surrogate, which UTF-8 cannot hold, is escaped, and its escape is the one that JSON has."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")
