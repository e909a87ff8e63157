"""The composition root: the one place that knows which part is built from which settings.

Everything is made once per process, when first asked for, so that a process pays for what it uses.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from foreman import __version__, logs
from foreman.domain.address import Policy
from foreman.domain.delivery import Schedule
from foreman.domain.endpoint import Endpoint
from foreman.domain.signature import parse_secrets
from foreman.errors import SettingInvalid
from foreman.net.passthrough import Passthrough
from foreman.net.upstream import Kind, Upstream, make_upstream
from foreman.net.webhooks import WebhookSender
from foreman.queue.announcer import Announcer
from foreman.queue.broker import WakingRedisBroker, make_broker
from foreman.queue.hub import Hub
from foreman.queue.live import Publisher
from foreman.queue.messages import Messenger, probe, prune, sweep
from foreman.queue.ticks import Tick
from foreman.services.authenticate import Authenticator
from foreman.services.cancel import Canceller
from foreman.services.deliver import Deliverer
from foreman.services.leases import LeaseKeeper
from foreman.services.measure import Measurer
from foreman.services.persist import Persister
from foreman.services.ping import Pinger
from foreman.services.probe import Prober
from foreman.services.prune import Pruner
from foreman.services.redeliver import Redeliverer
from foreman.services.run import RetryPolicy, Runner
from foreman.services.senders import Senders
from foreman.services.submit import Submitter
from foreman.services.sweep import Sweeper
from foreman.services.timepiece import Timepiece
from foreman.services.watch import Watcher
from foreman.stock import connect, database_url, keys, migrate, redis_url, settings, stores
from foreman.store.redelivery import Redelivery
from foreman.store.sessions import Sessions
from foreman.store.setback import Setback
from foreman.tally import Tally
from foreman.traces import Tracer

__all__ = [
    "connect",
    "database_url",
    "keys",
    "migrate",
    "settings",
    "stores",
]  # made in ``stock.py``, and asked for here like everything else

#: Set when this process is asked to stop: running jobs have ``workers.shutdown_grace_s`` from then on.
stopping = threading.Event()

#: What receivers are told of who calls.
USER_AGENT = f"foreman/{__version__}"


@dataclass(frozen=True, slots=True)
class Services:
    """The verbs."""

    submitter: Submitter
    canceller: Canceller
    runner: Runner
    persister: Persister
    deliverer: Deliverer
    pruner: Pruner
    sweeper: Sweeper
    redeliverer: Redeliverer
    pinger: Pinger
    prober: Prober
    timepiece: Timepiece
    measurer: Measurer


@cache
def broker() -> WakingRedisBroker:
    """The broker of this process.

    Raises:
        SettingInvalid: as ``stock.redis_url``.
    """
    return make_broker(redis_url())


@cache
def messenger() -> Messenger:
    """Sends messages for this process."""
    return Messenger(broker())


@cache
def announcer() -> Announcer:
    """Tells whoever waits for a job of its moves."""
    return Announcer(messenger(), Publisher(broker()), tally())


@cache
def tally() -> Tally:
    """Counts what this process does."""
    return Tally()


@cache
def tracer() -> Tracer:
    """Traces what this process does, if the settings say where to.

    Raises:
        SettingInvalid: they do, and OpenTelemetry is not installed.
    """
    conf = settings().traces
    if not conf.endpoint:
        return Tracer()
    try:
        # It takes a while and some megabytes, and need not be installed.
        from foreman.otel import OtelTracer  # noqa: PLC0415 -- see above
    except ImportError as error:
        raise SettingInvalid("traces.endpoint", "needs OpenTelemetry: pip install 'foreman[traces]'") from error
    return OtelTracer(conf.endpoint, conf.sample_ratio)


@cache
def authenticator() -> Authenticator | None:
    """Tells who sends a request; ``None`` where no key is wanted: whoever reaches the API may do everything."""
    return Authenticator(keys(), Sessions()) if settings().keys_required else None


def endpoints() -> tuple[Endpoint, ...]:
    """The upstreams that the settings name, one at least.

    Raises:
        SettingInvalid: they name none, and only ``foreman up`` brings a model of its own.
    """
    found = settings().upstream.endpoints
    if not found:
        raise SettingInvalid(
            "upstream.url",
            "is empty: set FOREMAN_UPSTREAM_URL (or _SERVERS), or let `foreman up` start the bundled model",
        )
    return found


@cache
def upstreams() -> Mapping[str, Upstream]:
    """The model servers by name, in the order of the settings.

    Raises:
        SettingInvalid: there is none, or one of them cannot be used.
    """
    return {each.name: _upstream(each) for each in endpoints()}


@cache
def passthroughs() -> Mapping[str, Passthrough]:
    """The model servers, for requests that are no jobs.

    Raises:
        SettingInvalid: as ``upstreams``.
    """
    return {each.name: _passthrough(each) for each in endpoints()}


def pruner() -> Pruner:
    """Removes what has expired; it needs neither Redis nor an upstream."""
    conf = settings().prune
    parts = stores()
    tombstone_ttl_ms = round(conf.tombstone_ttl_s * 1000)
    return Pruner(parts.pruning, parts.jobs, parts.objects, conf.batch, tombstone_ttl_ms, tally())


def measurer() -> Measurer:
    """Hands over what this process has counted."""
    return Measurer(tally(), stores().counters)


@cache
def watcher() -> Watcher:
    """Watches jobs for this process's clients, all through one hub."""
    parts = stores()
    return Watcher(parts.jobs, parts.artifacts, parts.objects, Hub(broker()))


@cache
def policy() -> Policy:
    """Which webhook URLs and addresses may be called."""
    conf = settings()
    return Policy(
        allow_http=conf.webhook.allow_http,
        allowed_nets=conf.webhook.networks,
        allowed_hosts=conf.webhook.hosts,
        own=conf.listeners,
    )


@cache
def services() -> Services:
    """The services of this process."""
    return Services(
        _submitter(),
        Canceller(stores().endings, announcer()),
        _runner(),
        _persister(),
        _deliverer(),
        pruner(),
        _sweeper(),
        Redeliverer(Redelivery(), messenger()),
        _pinger(),
        Prober(stores().upstreams, upstreams(), stores().claims, announcer()),
        Timepiece(Setback()),
        measurer(),
    )


def ticks() -> tuple[Tick, ...]:
    """What the clock process sends, and how often."""
    conf = settings()
    return (
        Tick("sweep", conf.sweep.interval_s, sweep()),
        Tick("prune", conf.prune.interval_s, prune()),
        Tick("probe", conf.upstream.probe_interval_s, probe()),
    )


def configure_logs(process: str) -> None:
    """Make this process log as the settings say, under the name ``process``."""
    logs.configure(settings().log, process=process)


def _upstream(endpoint: Endpoint) -> Upstream:
    kind: Kind = "openai" if endpoint.kind == "openai" else "ollama"
    try:
        return make_upstream(kind, endpoint.url, settings().upstream.connect_timeout_s, endpoint.api_key)
    except SettingInvalid as error:
        # It speaks of the one upstream that it knows.
        raise SettingInvalid(error.name.replace("upstream", endpoint.setting, 1), error.detail) from error


def _passthrough(endpoint: Endpoint) -> Passthrough:
    conf = settings()
    return Passthrough(
        upstreams()[endpoint.name].origin,
        conf.upstream.connect_timeout_s,
        openai=endpoint.kind == "openai",
        total_s=conf.jobs.exec_timeout_s,
        silence_s=conf.jobs.stall_timeout_s,
    )


def _submitter() -> Submitter:
    return Submitter(stores().jobs, announcer(), tracer())


def _runner() -> Runner:
    conf = settings().jobs
    leases = LeaseKeeper(stores().claims, conf.lease_s, stopping, settings().workers.shutdown_grace_s)
    retry = RetryPolicy(conf.retry_delay_s, conf.retry_delay_max_s, conf.retry_jitter, conf.max_attempts)
    return Runner(
        claims=stores().claims,
        upstreams=upstreams(),
        leases=leases,
        announcer=announcer(),
        policy=retry,
        inline_limit_b=settings().artifacts.inline_limit_b,
        tally=tally(),
        tracer=tracer(),
        stopping=stopping,
    )


def _persister() -> Persister:
    inline_limit_b = settings().artifacts.inline_limit_b
    return Persister(stores().artifacts, stores().objects, announcer(), inline_limit_b, tracer())


@cache
def _sender() -> WebhookSender:
    return WebhookSender(policy(), settings().webhook.timeout_s)


def _pinger() -> Pinger:
    return Pinger(_sender(), parse_secrets(settings().webhook.secret), USER_AGENT)


def _deliverer() -> Deliverer:
    conf = settings().webhook
    return Deliverer(
        events=stores().events,
        sender=_sender(),
        origins=stores().origins,
        senders=Senders(settings().workers.webhooks_threads, conf.doubtful_share),
        messenger=messenger(),
        schedule=Schedule(conf.retry_delays_s, conf.nonterminal_retries),
        secrets=parse_secrets(conf.secret),
        user_agent=USER_AGENT,
        spread=conf.retry_jitter,
        stopping=stopping,
        tally=tally(),
        tracer=tracer(),
    )


def _sweeper() -> Sweeper:
    parts = stores()
    conf = settings()
    return Sweeper(
        parts.claims,
        parts.artifacts,
        parts.events,
        parts.endings,
        parts.origins,
        announcer(),
        conf.jobs.max_worker_losses,
        round(conf.webhook.give_up_s * 1000),
    )
