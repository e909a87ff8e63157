"""Examples of what is sent and answered: answers are built by what builds real ones, requests are sent by a test."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from foreman.api.representation import accepted, document, summary
from foreman.domain.event import event_body, event_id, ping_body, ping_id
from foreman.domain.job import Artifact, Job, JobFailure, Limits, Priority, Webhook
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import Cause, State
from foreman.store.events import EventStatus
from foreman.store.line import Outlook

#: 2026-11-24T03:39:53Z, and what follows.
_AT = 1_795_491_593_000
_ID = "01M85VW3NCMASR2TMX7H7DCM6B"
_URL = "https://foreman.example.com"
_HOOK = "https://hooks.example.com/foreman"
_STATS = {
    "model": "smollm2",
    "created_at": "2026-11-24T03:39:54.612Z",
    "done": True,
    "done_reason": "stop",
    "total_duration": 1_402_511_316,
    "load_duration": 210_458_112,
    "prompt_eval_count": 31,
    "eval_count": 12,
}
_COMPLETION = compact(_STATS | {"message": {"role": "assistant", "content": "It was caught by the light, and stayed."}})
_ARTIFACT = Artifact(
    _ID, "completion", "application/json", len(_COMPLETION), hashlib.sha256(_COMPLETION).hexdigest(), _COMPLETION
)

MESSAGE = {"role": "user", "content": "Why is the sky blue?"}
SUBMISSIONS: dict[str, dict[str, Any]] = {
    "least": {"model": "smollm2", "messages": [MESSAGE]},
    "announced": {
        "model": "smollm2",
        "messages": [{"role": "system", "content": "Answer in one sentence."}, MESSAGE],
        "options": {"temperature": 0, "seed": 1},
        "state_webhook_url": _HOOK,
        "state_webhook_events": ["done", "failed"],
        "metadata": {"order": 1234},
        "priority": "batch",
        "ttl_s": 3600,
        "start_deadline_s": 600,
    },
    "load": {"model": "smollm2", "messages": [], "keep_alive": "10m"},
}
CHATS: dict[str, dict[str, Any]] = {
    "whole": {"model": "smollm2", "messages": [MESSAGE], "stream": False},
    "stream": {"model": "smollm2", "messages": [MESSAGE]},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "whole": {"model": "smollm2", "messages": [MESSAGE]},
    "schema": {
        "model": "smollm2",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Name a colour."}]}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "colour", "schema": {"type": "object", "properties": {"name": {"type": "string"}}}},
        },
        "temperature": 0,
    },
    "stream": {"model": "smollm2", "messages": [MESSAGE], "stream": True, "stream_options": {"include_usage": True}},
}


def job(state: State) -> Job:
    """A job that has come to ``state``."""
    path = [State.QUEUED, State.LOADING, State.WORKING, State.DONE]
    steps = [State.QUEUED, state] if state is State.FAILED else path[: state.rank + 1]
    reached = tuple((each, _AT + 400 * index) for index, each in enumerate(steps))
    ended = state in {State.DONE, State.FAILED}
    return Job(
        id=_ID,
        state=state,
        model="smollm2",
        priority=Priority.BATCH,
        metadata={"order": 1234},
        limits=Limits(3600, None, 600, 3600, 300, None),
        webhook=Webhook(_HOOK, None),
        attempt=0 if state in {State.QUEUED, State.FAILED} else 1,
        created_at=_AT,
        reached=reached,
        expires_at=reached[-1][1] + 3_600_000 if ended else None,
        stats=_STATS if state is State.DONE else None,
        failure=JobFailure(Cause.CANCELLED, "The job was cancelled.") if state is State.FAILED else None,
        version=len(reached),
    )


def jobs() -> dict[str, Any]:
    """``GET /jobs/{id}``, by state."""
    return {str(state): json.loads(_document(job(state))) for state in (State.QUEUED, State.DONE, State.FAILED)}


def _document(shown: Job) -> bytes:
    done = shown.state is State.DONE
    told = [
        EventStatus(state, number, "delivered", 1, 204, None, None, at + 35)
        for number, (state, at) in enumerate(shown.reached, start=1)
    ]
    return document(
        shown,
        outlook=Outlook(3, 4.2) if shown.state is State.QUEUED else Outlook(None, None),
        completion=_COMPLETION if done else None,
        artifacts=[_ARTIFACT] if done else [],
        events=told,
        public_url=_URL,
    ).body


def acceptance() -> Any:  # noqa: ANN401  JSON
    """The answer to a submission."""
    return json.loads(accepted(job(State.QUEUED), 3))


def page() -> dict[str, Any]:
    """``GET /jobs``."""
    return {"jobs": [summary(job(State.DONE))], "next_cursor": None}


def event(state: State) -> Any:  # noqa: ANN401  JSON
    """What a receiver is sent."""
    return json.loads(event_body(job(state), [_ARTIFACT], public_url=_URL, inline_limit_b=262_144))


def ping() -> Any:  # noqa: ANN401  JSON
    """What a receiver is sent by a ping."""
    return json.loads(ping_body(ping_id(_ID), _AT))


def redelivery() -> dict[str, str]:
    """The answer to a redelivery."""
    return {"event_id": event_id(_ID, State.DONE), "state": State.DONE, "status": "pending"}
