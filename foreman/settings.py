"""Where the value of each setting comes from; the one reader of the environment.

That is ``FOREMAN_<SECTION>_<KEY>``, else a TOML file (``FOREMAN_CONFIG``), else the default in ``domain/section.py``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

from foreman.domain import setting
from foreman.domain.address import Listener
from foreman.domain.section import (
    Artifacts,
    Data,
    Database,
    Jobs,
    Log,
    Prune,
    Redis,
    Schedule,
    Sweep,
    Traces,
    Upstream,
    Web,
    Webhook,
    Workers,
)
from foreman.domain.setting import Kind, Refused, Value
from foreman.errors import SettingInvalid

PREFIX = "FOREMAN_"

#: What Kubernetes adds to a pod's environment for a service called, say, ``foreman-web`` or ``foreman-redis``.
_SERVICE_LINK = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")


class Source(StrEnum):
    """Where a value came from."""

    DEFAULT = "default"
    FILE = "file"
    ENV = "env"


class SettingsInvalid(SettingInvalid):
    """More than one setting cannot be used: ``problems`` holds each, ``str(error)`` a line for each."""

    def __init__(self, problems: tuple[SettingInvalid, ...]) -> None:
        super().__init__(problems[0].name, problems[0].detail)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a process, checked; ``sources`` tells for each ``section.key`` that was set how it was."""

    web: Web = field(default_factory=Web)
    data: Data = field(default_factory=Data)
    database: Database = field(default_factory=Database)
    redis: Redis = field(default_factory=Redis)
    upstream: Upstream = field(default_factory=Upstream)
    artifacts: Artifacts = field(default_factory=Artifacts)
    jobs: Jobs = field(default_factory=Jobs)
    schedule: Schedule = field(default_factory=Schedule)
    webhook: Webhook = field(default_factory=Webhook)
    prune: Prune = field(default_factory=Prune)
    sweep: Sweep = field(default_factory=Sweep)
    workers: Workers = field(default_factory=Workers)
    log: Log = field(default_factory=Log)
    traces: Traces = field(default_factory=Traces)
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False, compare=False)
    #: For each of them the variable or the file, as an operator would look for it.
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def data_dir(self) -> Path:
        """The state of a single machine; absolute, and perhaps not made yet."""
        return Path(self.data.dir)

    @property
    def database_url(self) -> str:
        """``postgresql://…`` or ``sqlite:////absolute/path``; always four slashes, since three are read both ways."""
        if not self.database.url:
            return "sqlite:///" + quote(str(self.data_dir / "foreman.db"))
        scheme, _, rest = self.database.url.partition("://")
        return "sqlite:////" + rest.lstrip("/") if scheme == "sqlite" else "postgresql://" + rest

    @property
    def artifacts_url(self) -> str:
        """Where artifacts too large for a row are kept; by default a directory of their own beside the database."""
        return self.artifacts.url or "file://" + quote(str(self.data_dir / "artifacts"))

    @property
    def public_url(self) -> str:
        """What URLs in answers and webhooks begin with; no slash at its end."""
        return (self.web.public_url or f"http://{self.web.bind}").rstrip("/")

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Where foreman and what it uses listen, as far as the settings say: no webhook may go there."""
        upstreams = (each.url for each in self.upstream.endpoints)
        urls = (f"//{self.web.bind}", self.redis.url, self.database.url, self.traces.endpoint, *upstreams)
        return tuple(found for url in urls if (found := _listener(url)) is not None)

    @property
    def keys_required(self) -> bool:
        """Whether the API wants an API key: what ``web.auth`` says, or that others than this machine can reach it."""
        if self.web.auth == "auto":
            return not setting.is_loopback(self.web.bind)
        return self.web.auth == "on"

    def source(self, name: str) -> Source:
        """Where the value of ``section.key`` came from."""
        return self.sources.get(name, Source.DEFAULT)


#: By scheme, where a URL names none.
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "postgres": 5432, "postgresql": 5432}


def _listener(url: str) -> Listener | None:
    """The host and port of a checked URL; ``None`` for a file, a Unix socket, or no URL."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    return Listener(parts.hostname.removesuffix("."), port) if parts.hostname and port else None


#: ``section`` → ``key`` → how it is read.
KEYS: Mapping[str, Mapping[str, Kind]] = {
    section.name: {key.name: key.metadata["kind"] for key in fields(getattr(Settings(), section.name))}
    for section in fields(Settings)
    if section.name not in {"sources", "origins"}
}


@dataclass(frozen=True, slots=True)
class _Given:
    """A value somebody set: ``origin`` is the variable or the file's path, as an operator would look for it."""

    section: str
    key: str
    value: object
    source: Source
    origin: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def from_environment(config: Path | None = None) -> Settings:
    """The settings of this process.

    Raises:
        SettingInvalid: see ``load``.
    """
    return load(os.environ, config)


def load(environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Take the defaults, over them the TOML file ``config``, over both the environment.

    ``config`` ``None`` means the file that ``FOREMAN_CONFIG`` names, if it names one. A relative ``data.dir`` is taken
    from the working directory.

    Raises:
        SettingInvalid: one setting cannot be used.
        SettingsInvalid: several; it names them all.
    """
    given = [*_from_file(config or _config_of(environ)), *_from_environ(environ)]
    read = [(each, _read(each)) for each in given]
    problems = [value for _, value in read if isinstance(value, SettingInvalid)]
    good = [(each, value) for each, value in read if not isinstance(value, SettingInvalid)]
    settings = _assemble({each.name: (value, each) for each, value in good})
    problems += _contradictions(settings)
    if problems:
        raise problems[0] if len(problems) == 1 else SettingsInvalid(tuple(problems))
    return replace(settings, data=Data(dir=str(_data_dir(settings.data.dir, environ))))


def to_environ(settings: Settings) -> dict[str, str]:
    """The ``FOREMAN_*`` variables from which ``load`` makes the same settings: how a child process is told them."""
    values = {
        _variable(section, key): setting.plain(getattr(getattr(settings, section), key))
        for section, keys in KEYS.items()
        for key in keys
    }
    return {name: text for name, text in values.items() if text}


@dataclass(frozen=True, slots=True)
class Remote:
    """The foreman that commands such as ``foreman submit`` speak to; ``None``: nobody said."""

    url: str | None
    api_key: str | None = field(repr=False)


def remote_from_environment() -> Remote:
    """What ``FOREMAN_URL`` and ``FOREMAN_API_KEY`` say: a client's, and no settings of a foreman that runs here."""
    url, api_key = (os.environ.get(PREFIX + name, "").strip() for name in ("URL", "API_KEY"))
    return Remote(url or None, api_key or None)


def no_color() -> bool:
    """Whether nothing may be printed in colour: https://no-color.org, and terminals that have none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def child_environ(settings: Settings) -> dict[str, str]:
    """This process's environment with ``settings`` in the place of what it says about foreman."""
    ours = {PREFIX + "CONFIG", PREFIX + "API_KEY"} | {
        _variable(section, key) for section, keys in KEYS.items() for key in keys
    }
    return {name: text for name, text in os.environ.items() if name not in ours} | to_environ(settings)


def conf_path(name: str) -> Path:
    """The file ``name`` of ``conf/``: inside the package where foreman is installed, beside it in a source tree."""
    package = Path(__file__).parent
    installed = package / "_conf" / name
    return installed if installed.exists() else package.parent / "conf" / name


def _variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}_{key}".upper()


def _config_of(environ: Mapping[str, str]) -> Path | None:
    name = environ.get(PREFIX + "CONFIG", "").strip()
    return Path(name) if name else None


def _from_file(path: Path | None) -> Iterator[_Given]:
    """What the TOML file sets, in its order."""
    if path is None:
        return
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingInvalid("config", f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingInvalid("config", f"{path} is not TOML: {error}") from error
    for section, table in tables.items():
        for key, value in table.items() if isinstance(table, dict) else [("", table)]:
            yield _Given(section, key, value, Source.FILE, str(path))


def _from_environ(environ: Mapping[str, str]) -> Iterator[_Given]:
    """What the variables of known sections set, by name; blank ones and Kubernetes' own are passed over."""
    for name, text in sorted(environ.items()):
        section, _, key = name.removeprefix(PREFIX).lower().partition("_")
        if name.startswith(PREFIX) and section in KEYS and text.strip() and not _is_service_link(key, text):
            yield _Given(section, key, text, Source.ENV, name)


def _is_service_link(key: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(key.upper())) or (key == "port" and "://" in text)


def _read(given: _Given) -> Value | SettingInvalid:
    """The value as foreman uses it, or the line that says what is wrong with it."""
    if not given.key:
        told = (
            f"must be a table: [{given.section}]" if given.section in KEYS else _unknown(given.section, KEYS, "section")
        )
        return SettingInvalid(given.section, f"{told} ({given.origin})")
    if given.section not in KEYS:
        return SettingInvalid(given.name, f"{_unknown(given.section, KEYS, 'section')} ({given.origin})")
    kind = KEYS[given.section].get(given.key)
    if kind is None:
        return SettingInvalid(given.name, f"{_unknown(given.key, KEYS[given.section], 'key')} ({given.origin})")
    text = given.value if given.source is Source.ENV and isinstance(given.value, str) else None
    value = kind.check(given.value) if text is None else kind.parse(text)
    if isinstance(value, Refused):
        return SettingInvalid(given.name + value.at, f"must be {value.right}{_shown(given)} ({given.origin})")
    return value


def _unknown(word: str, known: Mapping[str, object], noun: str) -> str:
    close = get_close_matches(word, known, n=1)
    return f"unknown {noun}" + (f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}")


def _shown(given: _Given) -> str:
    """``, not 'abc'``; nothing where the value may hold a secret."""
    default = getattr(Settings(), given.section)
    secret = any(key.metadata["secret"] for key in fields(default) if key.name == given.key)
    return "" if secret else f", not {given.value!r:.80}"


def _assemble(values: Mapping[str, tuple[Value, _Given]]) -> Settings:
    """The defaults with ``values`` (by ``section.key``) in their place."""
    sections = {
        section: type(getattr(Settings(), section))(
            **{key: values[f"{section}.{key}"][0] for key in keys if f"{section}.{key}" in values}
        )
        for section, keys in KEYS.items()
    }
    return Settings(
        **sections,
        sources={name: given.source for name, (_, given) in values.items()},
        origins={name: given.origin for name, (_, given) in values.items()},
    )


def _contradictions(settings: Settings) -> list[SettingInvalid]:
    """Settings that are right by themselves and wrong together."""
    jobs = settings.jobs
    if jobs.retry_delay_s > jobs.retry_delay_max_s:
        limit = setting.plain(jobs.retry_delay_max_s)
        return [SettingInvalid("jobs.retry_delay_s", f"must be at most jobs.retry_delay_max_s, which is {limit}")]
    return []


def _data_dir(given: str, environ: Mapping[str, str]) -> Path:
    """``given`` or else ``$XDG_STATE_HOME/foreman``, absolute; the XDG specification says to ignore a relative one."""
    state_home = Path(environ.get("XDG_STATE_HOME", ""))
    if not given and state_home.is_absolute():
        return state_home / "foreman"
    home = environ.get("HOME", "").strip()
    try:
        default = (Path(home) if home else Path.home()) / ".local" / "state" / "foreman"
        return Path(given).expanduser().absolute() if given else default.absolute()
    except RuntimeError as error:
        raise SettingInvalid("data.dir", "must be an absolute directory, since no home directory is known") from error
