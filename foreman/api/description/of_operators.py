"""The operations of whoever runs foreman: webhooks of all jobs, upstreams, health, metrics, and this description."""

from __future__ import annotations

from foreman.api import shown
from foreman.api.assets import MEDIA_TYPES, NAME, PAGE, ROUTE, VERSION
from foreman.api.description.operation import Operation, Reply
from foreman.api.headers import IF_NONE_MATCH
from foreman.api.problems import BAD_MEDIA_TYPE, BAD_PARAMETER, NO_PLACE, TOO_MANY_PINGS
from foreman.api.webhooks import EVENTS
from foreman.domain.webhook_order import PING, RECOVERY
from foreman.errors import BodyInvalid

_WEBHOOKS, _OPERATING, _DESCRIPTION = "Webhooks", "Operating", "Description"

#: What Prometheus reads; it says which of the two it prefers.
_METRICS = ("text/plain", "application/openmetrics-text")
_FILES = tuple(each.partition(";")[0] for each in MEDIA_TYPES.values())

OPERATIONS = (
    Operation(
        "GET",
        "/webhooks/events",
        "listWebhookEvents",
        _WEBHOOKS,
        "List the events of all jobs",
        (Reply(200, "A page: of the newest job first.", shown.WebhookEventPage, headers=("Cache-Control",)),),
        parameters=EVENTS,
        problems=(BAD_PARAMETER,),
        head=True,
    ),
    Operation(
        "POST",
        "/webhooks/recover",
        "recoverWebhookEvents",
        _WEBHOOKS,
        "Send again what died in an outage",
        (Reply(202, "So many events are pending again.", shown.Recovered, headers=("Cache-Control",)),),
        body=RECOVERY,
        body_examples={"one origin": RECOVERY.examples[0]},
        problems=(BAD_MEDIA_TYPE, BodyInvalid),
    ),
    Operation(
        "POST",
        "/webhooks/ping",
        "ping",
        _WEBHOOKS,
        "Try a URL",
        (Reply(200, "What became of it.", shown.PingOutcome, headers=("Cache-Control",)),),
        about="A try that fails is an answer, not an error.",
        body=PING,
        body_examples={"a receiver": PING.examples[0]},
        problems=(BAD_MEDIA_TYPE, BodyInvalid, TOO_MANY_PINGS, NO_PLACE),
        stateless=True,
    ),
    Operation(
        "GET",
        "/webhooks/origins",
        "listOrigins",
        _WEBHOOKS,
        "List the receivers that events wait for, or that fail",
        (Reply(200, "Those of note first.", shown.Origins, headers=("Cache-Control",)),),
        head=True,
    ),
    Operation(
        "GET",
        "/upstreams",
        "listUpstreams",
        _OPERATING,
        "Tell how each model server is",
        (Reply(200, "All of them.", shown.Upstreams, headers=("Cache-Control",)),),
        head=True,
    ),
    Operation(
        "GET",
        "/healthz",
        "health",
        _OPERATING,
        "Tell whether the process lives",
        (Reply(200, "It does.", shown.Health, headers=("Cache-Control",)),),
        stateless=True,
        head=True,
    ),
    Operation(
        "GET",
        "/readyz",
        "readiness",
        _OPERATING,
        "Tell whether every dependency answers",
        (
            Reply(200, "All of them do.", shown.Readiness, headers=("Cache-Control",)),
            Reply(503, "One does not; jobs may still be accepted.", shown.Readiness, headers=("Cache-Control",)),
        ),
        stateless=True,
        head=True,
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        _OPERATING,
        "Metrics for Prometheus",
        (Reply(200, "The metrics.", {"type": "string"}, media=_METRICS, headers=("Cache-Control",)),),
        head=True,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "describe",
        _DESCRIPTION,
        "Read this description",
        (
            Reply(200, "OpenAPI 3.1.", {"type": "object"}, headers=("ETag", "Cache-Control")),
            Reply(304, "The client has it.", headers=("ETag", "Cache-Control")),
        ),
        parameters=(IF_NONE_MATCH,),
        stateless=True,
        head=True,
    ),
    Operation(
        "GET",
        "/docs",
        "browse",
        _DESCRIPTION,
        "Browse this description",
        (Reply(200, "A page.", {"type": "string"}, media=("text/html",), headers=("Cache-Control",)),),
        stateless=True,
        head=True,
    ),
    Operation(
        "GET",
        ROUTE,
        "getAsset",
        _DESCRIPTION,
        "Read a file that pages are made of",
        (
            Reply(200, "The file.", {}, media=_FILES, headers=("ETag", "Cache-Control")),
            Reply(304, "The client has it.", headers=("ETag", "Cache-Control")),
        ),
        parameters=(PAGE, NAME, VERSION, IF_NONE_MATCH),
        stateless=True,
        head=True,
    ),
)
