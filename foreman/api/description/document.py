"""The whole description: every operation, what receivers are sent, and the schemas that these are made of."""

from __future__ import annotations

from typing import Any

import msgspec

from foreman import __version__
from foreman.api import shown
from foreman.api.description import examples, of_clients, of_jobs, of_operators
from foreman.api.description.operation import Json, Operation, problem_examples, reference
from foreman.domain import event
from foreman.domain.chat import MESSAGE
from foreman.domain.json_value import VALUE_SCHEMA
from foreman.domain.lifecycle import State
from foreman.domain.openai_chat import CHAT_COMPLETION, OPENAI_MESSAGE
from foreman.domain.shape import COMPONENT, Object
from foreman.domain.submission import SUBMISSION
from foreman.domain.webhook_order import PING, RECOVERY

OPERATIONS: tuple[Operation, ...] = (*of_jobs.OPERATIONS, *of_clients.OPERATIONS, *of_operators.OPERATIONS)

#: Every body that has a name.
BODIES: tuple[Object, ...] = (
    *(SUBMISSION, MESSAGE, of_clients.CHAT, CHAT_COMPLETION, OPENAI_MESSAGE),
    *(RECOVERY, PING),
)
#: Every answer, and what receivers are sent; what they are made of is found from there.
ANSWERS: tuple[type, ...] = (
    *(shown.Accepted, shown.Job, shown.JobPage, shown.JobHistory, shown.DeliveryPage, shown.Redelivery),
    *(shown.WebhookEventPage, shown.Recovered, shown.PingOutcome, shown.Origins, shown.Upstreams),
    *(shown.Health, shown.Readiness, shown.Problem, shown.OllamaError, shown.OpenAIError),
    *(event.Event, event.PingEvent),
)

_ABOUT = """\
A job is submitted and answered at once. Each of its states is announced by webhook, and its completion is stored.
Ollama's and OpenAI's clients work unchanged.

Errors are `application/problem+json` (RFC 9457); below `/api` and `/v1` they are written as those clients expect."""

_TAGS = {
    "Jobs": "Submit, read, follow, cancel and purge.",
    "Deliveries": "What a job's receiver was told.",
    "Ollama": "For Ollama's clients.",
    "OpenAI": "For OpenAI's clients.",
    "Webhooks": "What receivers are told of all jobs.",
    "Operating": "How foreman is.",
    "Description": "This description, and its pages.",
}

#: Members of events that hold a time; the domain has them as text.
_TIMES = {"Event": ("timestamp",), "Reached": ("at",), "PingEvent": ("timestamp",)}

_SIGNATURE = "Only with a secret configured."
#: The headers of an event, contract section 5: what each holds, and whether it is always there.
_EVENT_HEADERS: dict[str, tuple[str, bool]] = {
    "Idempotency-Key": ("The event's id, the same on every try.", True),
    "webhook-id": ("The same, as Standard Webhooks has it.", True),
    "webhook-timestamp": ("Unix seconds of this try.", True),
    "webhook-signature": (f"`v1,<base64>` of HMAC-SHA256 over `id.timestamp.body`. {_SIGNATURE}", False),
    "X-Foreman-Signature": (f"`sha256=<hex>` of HMAC-SHA256 over the body. {_SIGNATURE}", False),
    "X-Foreman-Attempt": ("From 1 for each event.", True),
    "X-Foreman-Sequence": ("The event's place among those of its job, from 1; 0 for a ping.", True),
}


def describe(*, keys: bool) -> Json:
    """The OpenAPI document of an installation that asks for ``keys``, or does not."""
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "foreman",
            "version": __version__,
            "summary": "A durable front door for a local language model server.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this description comes from."}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": {},
        "webhooks": _webhooks(),
        "components": {
            "schemas": _schemas(),
            "examples": problem_examples(OPERATIONS, keys=keys),
            "securitySchemes": _SECURITY if keys else {},
        },
    }
    for operation in OPERATIONS:
        path = document["paths"].setdefault(operation.template, {})
        path[operation.method.lower()] = operation.render(keys=keys)
        if operation.head:
            path["head"] = operation.render_head(keys=keys)
    return document


_SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `fm_…`. A key sees its own jobs."}
}


def _schemas() -> Json:
    _, made = msgspec.json.schema_components(ANSWERS, ref_template=f"{COMPONENT}{{name}}")
    for name, members in _TIMES.items():
        for member in members:
            made[name]["properties"][member]["format"] = "date-time"
    answers = {name: _finished(name, schema) for name, schema in sorted(made.items())}
    return {each.name: each.definition() for each in BODIES} | {"Value": VALUE_SCHEMA} | answers


def _finished(name: str, schema: Json) -> Json:
    """``schema`` with the type of words, and members in the order in which they are declared and written."""
    if "enum" in schema:
        return {"type": "string"} | schema
    declared = {**vars(event), **vars(shown)}[name].__annotations__
    members = schema["properties"]
    return schema | {"properties": {each: members[each] for each in declared}}


_ABOUT_STATES = {
    State.QUEUED: "A job is on disk.",
    State.LOADING: "The upstream gets the model into memory.",
    State.WORKING: "The model is in memory, and the run has begun.",
    State.DONE: "The job is done, and its completion is stored.",
    State.FAILED: "The job will not complete.",
}


def _webhooks() -> Json:
    """What receivers are sent: an event for each state, and a ping."""
    sent = {f"job.{state}": (_event_of(state), examples.event(state), _ABOUT_STATES[state]) for state in State}
    sent["ping"] = (reference(event.PingEvent), examples.ping(), "Somebody tries the URL.")
    return {name: {"post": _webhook(name, *each)} for name, each in sent.items()}


def _event_of(state: State) -> Json:
    told = {"type": {"const": f"job.{state}"}, "state": {"const": str(state)}}
    return {"allOf": [reference(event.Event), {"properties": told}]}


def _webhook(name: str, schema: Json, example: Any, about: str) -> Json:  # noqa: ANN401  JSON
    return {
        "operationId": name,
        "tags": ["Deliveries"],
        "summary": about,
        "description": "At least once, in the order of the job's states. Dedupe on `id`.",
        # Not asked of receivers: they know foreman by its signature.
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "description": what, "required": always, "schema": {"type": "string"}}
            for header, (what, always) in _EVENT_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Taken."},
            "410": {"description": "Send this job's events here no more."},
            "429": {"description": "Later: `Retry-After` is heeded up to an hour. So it is with `503`."},
            "default": {"description": "Sent again later, redirects included: they are never followed."},
        },
    }
