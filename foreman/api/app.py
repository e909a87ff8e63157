"""The API put together: every route, and what each of them is given."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from foreman.api import greeting, problems
from foreman.api.access import AccessLog
from foreman.api.artifacts import ArtifactResource
from foreman.api.assets import ROUTE, shipped
from foreman.api.cancel import CancelResource
from foreman.api.chat import ChatResource, Reader
from foreman.api.conversation import Desk
from foreman.api.deliveries import DeliveriesResource, RedeliverResource
from foreman.api.described import DOCUMENT, PAGE, DocsResource, DocumentResource
from foreman.api.events import EventsResource
from foreman.api.gate import Gate
from foreman.api.health import HealthResource, ReadyResource
from foreman.api.jobs import JobResource, JobsResource
from foreman.api.lists import LOADED, TAGS, ListResource
from foreman.api.metrics import MetricsResource
from foreman.api.metrics import Sources as MetricSources
from foreman.api.newcomers import Newcomers
from foreman.api.openai import ChatCompletionsResource, ModelsResource
from foreman.api.origins import OriginsResource
from foreman.api.passthrough import PATHS, Counter, Order, Question
from foreman.api.places import Places
from foreman.api.problems import TOO_MANY_PINGS
from foreman.api.readiness import Check, Readiness
from foreman.api.ui import faults
from foreman.api.ui.browser import Browser
from foreman.api.ui.routes import add_routes as add_page
from foreman.api.upstreams import UpstreamsResource
from foreman.api.view import JobView
from foreman.api.waiting import WaitingRoom
from foreman.api.ways import Ways
from foreman.api.webhooks import MAX_PINGS, PingResource, RecoverResource, WebhookEventsResource
from foreman.domain.address import Policy
from foreman.domain.job import Limits
from foreman.net.passthrough import Passthrough
from foreman.services.authenticate import Authenticator
from foreman.services.cancel import Canceller
from foreman.services.ping import Pinger
from foreman.services.prune import Pruner
from foreman.services.redeliver import Redeliverer
from foreman.services.submit import Submitter
from foreman.services.watch import Watcher
from foreman.store.artifacts import Artifacts
from foreman.store.deliveries import Deliveries
from foreman.store.events import Events
from foreman.store.jobs import Jobs
from foreman.store.line import Line
from foreman.store.objects import Objects
from foreman.store.origins import Origins
from foreman.store.upstreams import Upstreams
from foreman.tally import Tally


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API is made of."""

    #: Tells who sends a request; ``None``: no key is wanted, and everybody may do everything.
    authenticator: Authenticator | None
    submitter: Submitter
    canceller: Canceller
    watcher: Watcher
    pruner: Pruner
    redeliverer: Redeliverer
    pinger: Pinger
    #: The way to each upstream for what is no job, by its name.
    passthroughs: Mapping[str, Passthrough]
    jobs: Jobs
    line: Line
    events: Events
    deliveries: Deliveries
    origins: Origins
    artifacts: Artifacts
    objects: Objects
    upstreams: Upstreams
    #: What ``/metrics`` asks, and where requests are counted.
    metrics: MetricSources
    tally: Tally
    #: What each upstream speaks, by name.
    kinds: Mapping[str, str]
    #: The dependencies that ``/readyz`` names.
    checks: Mapping[str, Check]
    #: What a submission that does not say gets.
    defaults: Limits
    policy: Policy
    #: What URLs in answers begin with, without a slash at the end.
    public_url: str
    inline_limit_b: int
    max_body_b: int
    #: Requests that may wait for a job at once: at most half the threads, so that the rest can always submit.
    max_waits: int
    #: Requests that may last as long as their job does: each has a thread besides those.
    max_followers: int
    #: Set when this process is asked to stop: whoever waits is answered.
    stopping: threading.Event


def make_app(parts: Parts) -> falcon.App[Any, Any]:
    """The WSGI application."""
    middleware: Any = [
        AccessLog(parts.tally),
        Browser(parts.public_url, parts.max_body_b),
        Gate(parts.authenticator, parts.jobs),
    ]
    app: falcon.App[Any, Any] = falcon.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    problems.install(app)
    app.set_error_serializer(faults.serialize)
    view = JobView(
        parts.jobs, parts.line, parts.events, parts.artifacts, parts.objects, parts.public_url, parts.inline_limit_b
    )
    waiting = WaitingRoom(parts.jobs, parts.max_waits, parts.stopping)
    readiness = Readiness(parts.checks)
    jobs = JobsResource(
        parts.submitter,
        parts.jobs,
        parts.line,
        Newcomers(parts.line),
        view,
        waiting,
        parts.defaults,
        parts.policy,
        parts.max_body_b,
    )
    app.add_route("/jobs", jobs)
    app.add_route("/jobs/{job_id}", JobResource(view, waiting, parts.pruner))
    app.add_route("/jobs/{job_id}/cancel", CancelResource(parts.canceller, parts.jobs, view, waiting))
    app.add_route("/jobs/{job_id}/artifacts/{name}", ArtifactResource(parts.jobs, parts.artifacts, parts.objects))
    app.add_route("/jobs/{job_id}/deliveries", DeliveriesResource(parts.jobs, parts.deliveries))
    app.add_route("/jobs/{job_id}/deliveries/{state}/redeliver", RedeliverResource(parts.jobs, parts.redeliverer))
    app.add_route("/webhooks/events", WebhookEventsResource(parts.deliveries))
    app.add_route("/webhooks/recover", RecoverResource(parts.redeliverer, parts.max_body_b))
    app.add_route("/upstreams", UpstreamsResource(parts.upstreams, parts.kinds))
    app.add_route("/webhooks/origins", OriginsResource(parts.origins))
    app.add_route(greeting.PATH, greeting.GreetingResource())
    app.add_route("/healthz", HealthResource(readiness))
    app.add_route("/readyz", ReadyResource(readiness))
    app.add_route("/metrics", MetricsResource(parts.metrics))
    app.add_route(ROUTE, shipped())
    app.add_route(PAGE, DocsResource(shipped()))
    app.add_route(DOCUMENT, DocumentResource(keys=parts.authenticator is not None))
    places = Places(parts.max_followers)
    events = EventsResource(parts.jobs, parts.watcher, places, parts.stopping)
    app.add_route("/jobs/{job_id}/events", events)
    _add_long_routes(app, parts, places)
    add_page(app, parts, view, waiting, events)
    return app


def _add_long_routes(app: falcon.App[Any, Any], parts: Parts, places: Places) -> None:
    """The routes whose clients stay connected, all bounded by the same places."""
    pings = Places(MAX_PINGS, TOO_MANY_PINGS)
    app.add_route("/webhooks/ping", PingResource(parts.pinger, parts.policy, pings, places, parts.max_body_b))
    desk = Desk(parts.submitter.in_passing(), parts.watcher, parts.canceller, places, parts.stopping)
    reader = Reader(parts.defaults, parts.policy, parts.max_body_b)
    app.add_route("/api/chat", ChatResource(reader, desk))
    app.add_route("/v1/chat/completions", ChatCompletionsResource(reader, desk))
    counter = Counter(Ways(parts.passthroughs, parts.upstreams), places, parts.max_body_b)
    for path in PATHS["GET"]:
        app.add_route(path, ListResource(counter, path) if path in {TAGS, LOADED} else Question(counter, path))
    for path in PATHS["POST"]:
        app.add_route(path, Order(counter, path))
    models = ModelsResource(counter)
    app.add_route("/v1/models", models)
    app.add_route("/v1/models/{model:path}", models, suffix="one")
