"""Every setting with its default and its bounds; ``conf/foreman.toml`` says what each means, with the same defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from foreman.domain import setting
from foreman.domain.endpoint import DEFAULT, Endpoint
from foreman.domain.servers import API_KEY, KIND, SLOTS, Servers
from foreman.domain.setting import Choice, Flag, Kind, Number, Numbers, Text, Texts, Value, Whole

#: Seconds: the longest a job may be kept, contract section 1.
_MAX_TTL_S = 30 * 86_400
#: Seconds: no wait, timeout or interval is longer than a week.
_WEEK_S = 7 * 86_400
#: Seconds: below this a timeout or an interval only measures the scheduler.
_TICK_S = 0.01

_FRACTION = Number(0, 1)
_TIMEOUT = Number(_TICK_S, _WEEK_S)
_THREADS = Whole(1, 1024)
_PROCESSES = Whole(1, 64)
_BYTES = Whole(0, 2**31 - 1)
_BIND = Text("host:port with a port from 1 to 65535, such as 127.0.0.1:8420", setting.is_bind, may_be_empty=False)
_HTTP_URL = Text("an http or https URL without query or fragment, such as http://127.0.0.1:11434", setting.is_http_url)
_DATABASE_URL = Text(
    "sqlite:////absolute/path/foreman.db or postgresql://user:password@host/name", setting.is_database_url
)
_REDIS_URL = Text("redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket", setting.is_redis_url)
_ARTIFACTS_URL = Text(
    "file:///absolute/path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix", setting.is_artifacts_url
)
_NETWORKS = Texts("a list of CIDR blocks, such as 10.0.0.0/8, with no bit set behind the prefix", setting.is_network)

_HOSTS = Texts("a list of host names, such as hooks.example.com, or *.example.com for all below it", setting.is_host)


def _key(default: Value, kind: Kind, *, secret: bool = False) -> Any:  # noqa: ANN401 - typed by the field it stands in
    """A setting; a ``secret`` one, such as a URL that may hold a password, is in no ``repr`` and in no error."""
    return field(default=default, repr=not secret, metadata={"kind": kind, "secret": secret})


@dataclass(frozen=True, slots=True)
class Web:
    """``[web]``: the HTTP API."""

    bind: str = _key("127.0.0.1:8420", _BIND)
    auth: str = _key("auto", Choice(("auto", "on", "off")))
    public_url: str = _key("", _HTTP_URL)
    workers: int = _key(1, _PROCESSES)
    threads: int = _key(64, _THREADS)
    followers: int = _key(512, Whole(1, 8192))
    max_body_b: int = _key(20_971_520, Whole(1024, 2**31 - 1))


@dataclass(frozen=True, slots=True)
class Data:
    """``[data]``: where a single machine keeps its state; ``load`` makes ``dir`` absolute and never leaves it empty."""

    dir: str = _key("", Text("a directory"))


@dataclass(frozen=True, slots=True)
class Database:
    """``[database]``: the truth."""

    url: str = _key("", _DATABASE_URL, secret=True)
    pool_size: int = _key(20, Whole(1, 1000))


@dataclass(frozen=True, slots=True)
class Redis:
    """``[redis]``: the wake-ups."""

    url: str = _key("", _REDIS_URL, secret=True)


@dataclass(frozen=True, slots=True)
class Upstream:
    """``[upstream]``: the language model server, or all of them."""

    url: str = _key("", _HTTP_URL, secret=True)
    kind: str = _key("ollama", KIND)
    api_key: str = _key("", API_KEY, secret=True)
    slots: int = _key(1, SLOTS)
    servers: tuple[Endpoint, ...] = _key((), Servers(), secret=True)
    connect_timeout_s: float = _key(5.0, _TIMEOUT)
    probe_interval_s: float = _key(5.0, Number(_TICK_S, 30))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every upstream there is: the one of ``url`` first, if it is set, under the name ``default``."""
        single = Endpoint(DEFAULT, self.url, self.kind, self.slots, (), self.api_key)
        return (single, *self.servers) if self.url else self.servers


@dataclass(frozen=True, slots=True)
class Artifacts:
    """``[artifacts]``: where completions are kept, and up to which size they travel with others."""

    url: str = _key("", _ARTIFACTS_URL, secret=True)
    inline_limit_b: int = _key(262_144, _BYTES)


@dataclass(frozen=True, slots=True)
class Jobs:
    """``[jobs]``: what a job may take, unless its submission says otherwise."""

    ttl_s: float = _key(86_400.0, Number(0, _MAX_TTL_S))
    max_queue: int = _key(10_000, Whole(1, 100_000_000))
    max_attempts: int = _key(3, Whole(1, 100))
    max_worker_losses: int = _key(10, Whole(0, 1000))
    load_timeout_s: float = _key(600.0, _TIMEOUT)
    exec_timeout_s: float = _key(3600.0, _TIMEOUT)
    stall_timeout_s: float = _key(300.0, _TIMEOUT)
    retry_delay_s: float = _key(1.0, Number(0, 86_400))
    retry_delay_max_s: float = _key(60.0, Number(0, 86_400))
    retry_jitter: float = _key(0.2, _FRACTION)
    lease_s: float = _key(30.0, Number(2, 3600))


@dataclass(frozen=True, slots=True)
class Schedule:
    """``[schedule]``: how long the model in memory may go on while others wait."""

    max_wait_s: float = _key(300.0, Number(0, _WEEK_S))
    max_streak: int = _key(100, Whole(1, 1_000_000))


@dataclass(frozen=True, slots=True)
class Webhook:
    """``[webhook]``: how states are announced, and to whom."""

    secret: str = _key("", Text("a secret on one line"), secret=True)
    allow_http: bool = _key(default=False, kind=Flag())
    allowed_nets: tuple[str, ...] = _key((), _NETWORKS)
    allowed_hosts: tuple[str, ...] = _key((), _HOSTS)
    retry_delays_s: tuple[float, ...] = _key(
        (1.0, 2.0, 4.0, 8.0, 16.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0), Numbers(Number(0, _WEEK_S))
    )
    nonterminal_retries: int = _key(5, Whole(0, 1000))
    retry_jitter: float = _key(0.2, _FRACTION)
    timeout_s: float = _key(10.0, Number(_TICK_S, 300))
    origin_concurrency: int = _key(8, Whole(1, 1000))
    doubtful_share: float = _key(0.5, _FRACTION)
    circuit_failures: int = _key(5, Whole(1, 1_000_000))
    circuit_waiting: int = _key(10, Whole(1, 1_000_000))
    circuit_open_s: float = _key(5.0, Number(_TICK_S, 86_400))
    circuit_open_max_s: float = _key(60.0, Number(_TICK_S, 86_400))
    give_up_s: float = _key(86_400.0, Number(60, _MAX_TTL_S))

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """``allowed_nets``, parsed."""
        return tuple(ip_network(net) for net in self.allowed_nets)

    @property
    def hosts(self) -> tuple[str, ...]:
        """``allowed_hosts`` as names are compared."""
        return tuple(host.lower().removesuffix(".") for host in self.allowed_hosts)


@dataclass(frozen=True, slots=True)
class Prune:
    """``[prune]``: the removal of what has expired."""

    interval_s: float = _key(60.0, Number(_TICK_S, 86_400))
    batch: int = _key(20, Whole(1, 100_000))
    tombstone_ttl_s: float = _key(7_776_000.0, Number(0, 3650 * 86_400))


@dataclass(frozen=True, slots=True)
class Sweep:
    """``[sweep]``: the search for what should have been picked up and was not."""

    interval_s: float = _key(2.0, Number(_TICK_S, 3600))


@dataclass(frozen=True, slots=True)
class Workers:
    """``[workers]``: the actor processes that ``foreman up`` and ``foreman process`` start."""

    jobs_threads: int = _key(8, _THREADS)
    artifacts_threads: int = _key(8, _THREADS)
    webhooks_threads: int = _key(32, _THREADS)
    jobs_processes: int = _key(1, _PROCESSES)
    artifacts_processes: int = _key(1, _PROCESSES)
    webhooks_processes: int = _key(1, _PROCESSES)
    shutdown_grace_s: float = _key(10.0, Number(0, 3600))


@dataclass(frozen=True, slots=True)
class Traces:
    """``[traces]``: where spans are sent."""

    endpoint: str = _key("", _HTTP_URL, secret=True)
    sample_ratio: float = _key(1.0, _FRACTION)


@dataclass(frozen=True, slots=True)
class Log:
    """``[log]``: what is written to standard error."""

    level: str = _key("info", Choice(("debug", "info", "warning", "error", "critical")))
    format: str = _key("auto", Choice(("auto", "console", "json")))
