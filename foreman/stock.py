"""The stores of this process, on the database that its settings name: what the rest of the wiring is built on.

Apart from that, since a command that needs no more starts in half the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from foreman import settings as settings_module
from foreman.bundled import postgres
from foreman.domain.origin_health import CircuitPolicy
from foreman.domain.schedule import Policy as SchedulePolicy
from foreman.domain.signature import parse_secrets
from foreman.domain.upstream import Slots
from foreman.errors import SettingInvalid
from foreman.services.issue import Issuer
from foreman.settings import Settings
from foreman.store import database, schema
from foreman.store.artifacts import Artifacts
from foreman.store.claims import Claims
from foreman.store.counters import Counters
from foreman.store.deliveries import Deliveries
from foreman.store.endings import Endings
from foreman.store.events import Events
from foreman.store.gauges import Gauges
from foreman.store.jobs import Jobs
from foreman.store.keys import Keys
from foreman.store.line import Line
from foreman.store.objects import Objects
from foreman.store.origins import Origins
from foreman.store.outbox import Outbox
from foreman.store.pruning import Pruning
from foreman.store.room import Room
from foreman.store.upstreams import Upstreams

#: How long a sender's lease outlives the deadline of its try, milliseconds: time to record what came of it.
SENDING_MARGIN_MS = 5_000


@dataclass(frozen=True, slots=True)
class Stores:
    """The tables, each from its users' side."""

    jobs: Jobs
    line: Line
    claims: Claims
    events: Events
    deliveries: Deliveries
    origins: Origins
    artifacts: Artifacts
    endings: Endings
    pruning: Pruning
    objects: Objects
    upstreams: Upstreams
    counters: Counters
    gauges: Gauges


@cache
def settings() -> Settings:
    """The settings of this process, from its environment.

    Raises:
        SettingInvalid: one line for each setting that cannot be used.
    """
    read = settings_module.from_environment()
    parse_secrets(read.webhook.secret)
    return read


@cache
def connect() -> None:
    """Make the database of the settings this process's; no connection is opened yet.

    Raises:
        SettingInvalid: SQLite's file cannot be kept where the settings say.
    """
    conf = settings()
    url = database_url()
    try:
        if url.startswith("sqlite:"):
            conf.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        database.connect(url, pool_size=conf.database.pool_size)
    except OSError as error:
        # The file may lie elsewhere than in the data directory.
        name = "database.url" if conf.database.url else "data.dir"
        raise SettingInvalid(name, f"cannot be used: {error.filename}: {error.strerror}") from error


def migrate() -> list[str]:
    """Bring the database to the newest schema; returns the names of the migrations applied."""
    connect()
    return schema.migrate()


def pending() -> list[str]:
    """The names of the migrations that ``migrate`` would apply; nothing is made or changed."""
    file = database.sqlite_file(database_url())
    if file is not None and not file.exists():
        return schema.names()
    connect()
    return schema.pending()


def keys() -> Keys:
    """The API keys of this installation."""
    connect()
    return Keys()


def issuer() -> Issuer:
    """Makes API keys."""
    return Issuer(keys())


@cache
def stores() -> Stores:
    """The stores of this process, on its database."""
    conf = settings()
    connect()
    outbox = Outbox(conf.public_url, conf.artifacts.inline_limit_b)
    slots, schedule = _slots(), _schedule()
    return Stores(
        jobs=Jobs(outbox, Room(conf.jobs.max_queue)),
        line=Line(slots, schedule),
        claims=Claims(outbox, slots, schedule, round(conf.jobs.lease_s * 1000)),
        events=Events(round(conf.webhook.timeout_s * 1000) + SENDING_MARGIN_MS, conf.webhook.origin_concurrency),
        deliveries=Deliveries(),
        origins=Origins(_circuit_policy()),
        artifacts=Artifacts(outbox),
        endings=Endings(outbox),
        pruning=Pruning(),
        objects=_objects(conf),
        upstreams=Upstreams(slots),
        counters=Counters(),
        gauges=Gauges(),
    )


def redis_url() -> str:
    """Where the messages go.

    Raises:
        SettingInvalid: ``redis.url`` is empty, and only ``foreman up`` brings a server of its own.
    """
    if url := settings().redis.url:
        return url
    raise SettingInvalid("redis.url", "is empty: set FOREMAN_REDIS_URL, or let `foreman up` start a server of its own")


def database_url() -> str:
    """That of the settings, or of the PostgreSQL that `foreman up --postgres` set up in the data directory."""
    conf = settings()
    if conf.database.url or not postgres.is_in(conf.data_dir):
        return conf.database_url
    return postgres.url(conf.data_dir)


def _objects(conf: Settings) -> Objects:
    try:
        return Objects(conf.artifacts_url)
    except OSError as error:
        # Its own words are not to be shown: they are a library's, and many.
        name = "artifacts.url" if conf.artifacts.url else "data.dir"
        raise SettingInvalid(name, "the artifact store cannot be made there") from error


def _schedule() -> SchedulePolicy:
    conf = settings().schedule
    return SchedulePolicy(round(conf.max_wait_s * 1000), conf.max_streak)


def _slots() -> tuple[Slots, ...]:
    return tuple(Slots(each.name, each.slots, each.models) for each in settings().upstream.endpoints)


def _circuit_policy() -> CircuitPolicy:
    conf = settings().webhook
    return CircuitPolicy(conf.circuit_failures, conf.circuit_waiting, conf.circuit_open_s, conf.circuit_open_max_s)
