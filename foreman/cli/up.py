"""``foreman up``: everything on one machine, from an empty directory to a service that answers."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from foreman.bundled import model, openmp, postgres, sockets, valkey
from foreman.cli import grace, local
from foreman.cli.child import Child
from foreman.cli.console import Console
from foreman.cli.supervisor import NAME, Supervisor
from foreman.settings import Settings, child_environ, conf_path, from_environment, load, to_environ

#: What each start of one of foreman's own processes begins with: this interpreter, and no module from the working
#: directory.
_FOREMAN = (sys.executable, "-P", "-m", "foreman.cli")

#: Order of starting, and the other way round of stopping.
_STORES, _MODEL, _WORKERS, _WEB = range(4)

#: Seconds one look at an HTTP server may take while it starts: it holds up the supervisor's loop. It takes a hundredth,
#: and on a machine that is much too busy half a second.
_PROBE_S = 1.0
#: Connections the kernel holds until they are accepted: gunicorn's own default.
_BACKLOG = 2048
#: Valkey's advice for servers with large data, which ours is not; it would be the first line anybody sees.
_HUSHED = "Memory overcommit must be enabled"
#: What PostgreSQL calls fatal each time that it is asked whether it has started, or stopped, yet.
_HUSHED_OF_POSTGRES = "the database system is "


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What runs beside foreman's own processes: the sockets they listen on, and what they replace."""

    web: socket.socket
    #: The model's file and the socket it is served on; ``None``: the settings name an upstream.
    model: tuple[Path, socket.socket] | None
    has_valkey: bool
    has_postgres: bool


def up(data_dir: str | None, bind: str | None, *, with_postgres: bool = False) -> int:
    """Run until stopped; the exit status. ``None`` leaves a setting as it is.

    ``with_postgres``: set up PostgreSQL in the data directory, if it has none. Where it has one, that is the database.

    Raises:
        SettingInvalid: wrong settings.
        click.ClickException: it cannot start here; the message says why.
    """
    given = {"FOREMAN_DATA_DIR": data_dir, "FOREMAN_WEB_BIND": bind}
    settings = from_environment()
    settings = load(to_environ(settings) | {name: value for name, value in given.items() if value})
    lock = _lock(_prepared(settings.data_dir))
    try:
        has_postgres = _wants_postgres(settings, asked=with_postgres)
        bundle = _bundle(settings, has_postgres=has_postgres)
        told = _told(settings, bundle)
        environ = child_environ(told) | {"PYTHONUNBUFFERED": "1"}
        if not bundle.has_postgres:
            # Else there is no database yet: each process brings it to the newest schema at its start.
            _migrate(environ)
        children = _children(told, bundle, environ)
        console = Console(sys.stderr, [NAME, *(child.name for child in children)])
        return Supervisor(children, console, partial(_announce, told, bundle)).run()
    except (model.ModelUnavailable, postgres.PostgresUnavailable, sockets.DirectoryUnsafe) as error:
        raise click.ClickException(str(error)) from error
    finally:
        os.close(lock)


def _prepared(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The data directory {folder} cannot be made: {error.strerror}.") from error
    return folder


def _lock(folder: Path) -> int:
    """Take the data directory for this process; the descriptor that holds it, until it is closed or we die."""
    path = folder / "up.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise click.ClickException(f"The data directory {folder} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode().strip() or "unknown"
        os.close(lock)
        raise click.ClickException(f"Another `foreman up` (process {pid}) runs in {folder}.") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def running(folder: Path) -> str | None:
    """The process id of the ``foreman up`` that has this data directory; ``None``: there is none."""
    try:
        lock = os.open(folder / "up.lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 32).decode().strip() or "unknown"
    else:
        return None
    finally:
        os.close(lock)


def _wants_postgres(settings: Settings, *, asked: bool) -> bool:
    """Whether to run PostgreSQL; it is set up then."""
    if asked and settings.database.url:
        raise click.ClickException("--postgres brings a database of its own, and database.url names another.")
    wanted = not settings.database.url and (asked or postgres.is_in(settings.data_dir))
    if wanted:
        postgres.prepare(settings.data_dir)
    return wanted


def _bundle(settings: Settings, *, has_postgres: bool) -> _Bundle:
    host, _, port = settings.web.bind.rpartition(":")
    # First, since it may be refused at once, and the model may take minutes to come.
    web = _listen(host.strip("[]"), int(port))
    if settings.upstream.endpoints:
        return _Bundle(web, None, not settings.redis.url, has_postgres)
    file = model.find(settings.data_dir) or model.fetch(settings.data_dir, partial(click.echo, err=True))
    return _Bundle(web, (file, _listen("127.0.0.1", 0)), not settings.redis.url, has_postgres)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. This process keeps it, so a client waits while what serves it is started again."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"web.bind: cannot listen on {host}:{port}: {reason}.") from error
    return sock


def _told(settings: Settings, bundle: _Bundle) -> Settings:
    """The settings as the children get them: what is bundled filled in."""
    if bundle.has_valkey:
        settings = replace(settings, redis=replace(settings.redis, url=valkey.url(settings.data_dir)))
    if bundle.has_postgres:
        settings = replace(settings, database=replace(settings.database, url=postgres.url(settings.data_dir)))
    if bundle.model is not None:
        settings = replace(settings, upstream=replace(settings.upstream, url=_url(bundle.model[1]), kind="ollama"))
    if settings.log.format == "auto" and sys.stderr.isatty():
        # The children see a pipe, but it is a person who reads what comes out of it.
        settings = replace(settings, log=replace(settings.log, format="console"))
    return settings


def _migrate(environ: Mapping[str, str]) -> None:
    """In a process of its own: this one is to hold no database and start no thread, for it forks."""
    done = subprocess.run([*_FOREMAN, "migrate"], env=environ, stdout=sys.stderr, check=False)
    if done.returncode:
        raise click.ClickException("The database cannot be brought to the newest schema; see above.")


def _children(settings: Settings, bundle: _Bundle, environ: Mapping[str, str]) -> list[Child]:
    children = []
    if bundle.has_postgres:
        children.append(_postgres(settings))
    if bundle.has_valkey:
        children.append(_valkey(settings.data_dir))
    if bundle.model is not None:
        children.append(_model(settings, environ, *bundle.model))
    grace_s = settings.workers.shutdown_grace_s + grace.RECORD_MARGIN_S + grace.EXIT_MARGIN_S
    own = partial(Child, env=environ, stage=_WORKERS, grace_s=grace_s)
    children.append(own("clock", [*_FOREMAN, "process", "clock"]))
    for name in ("webhooks", "artifacts", "jobs"):
        count = getattr(settings.workers, f"{name}_processes")
        children += [own(each, [*_FOREMAN, "process", name]) for each in _numbered(name, count)]
    return [*children, _web(bundle.web, environ)]


def _postgres(settings: Settings) -> Child:
    data_dir = settings.data_dir
    return Child(
        "postgres",
        postgres.command(data_dir, _processes(settings) * settings.database.pool_size),
        _STORES,
        ready=partial(postgres.is_ready, data_dir),
        grace_s=grace.POSTGRES_S,
        hush=_HUSHED_OF_POSTGRES,
        cwd=postgres.home(data_dir),
        account=postgres.account(),
        # SIGTERM would wait for everybody to leave, a person with psql too.
        stop_signal=signal.SIGINT,
    )


def _processes(settings: Settings) -> int:
    """How many of foreman's own there are, the clock among them."""
    workers = settings.workers
    return settings.web.workers + workers.jobs_processes + workers.artifacts_processes + workers.webhooks_processes + 1


def _valkey(data_dir: Path) -> Child:
    command = valkey.command(data_dir, conf_path("valkey.conf"))
    ready = partial(valkey.is_ready, data_dir)
    return Child("valkey", command, _STORES, ready=ready, grace_s=grace.VALKEY_S, hush=_HUSHED)


def _model(settings: Settings, environ: Mapping[str, str], file: Path, sock: socket.socket) -> Child:
    argv = [sys.executable, "-P", "-m", "foreman.bundled.server", "--fd", str(sock.fileno()), "--model", str(file)]
    argv += ["--slots", str(settings.upstream.slots)]
    if settings.log.level == "debug":
        argv.append("--debug")
    ready = partial(_answers, sock, "/api/version")
    env = openmp.environ(settings.data_dir / "lib", environ)
    return Child("model", argv, _MODEL, env=env, ready=ready, grace_s=grace.MODEL_S, fds=(sock.fileno(),))


def _web(sock: socket.socket, environ: Mapping[str, str]) -> Child:
    argv = [*_FOREMAN, "process", "web", "--fd", str(sock.fileno()), "--grace-s", str(grace.WEB_S)]
    ready = partial(_answers, sock, "/healthz")
    return Child("web", argv, _WEB, ready=ready, grace_s=grace.WEB_S, env=environ, fds=(sock.fileno(),))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}.{number}" for number in range(1, count + 1)]


def _answers(sock: socket.socket, path: str) -> bool:
    """Whether the server behind a listening socket of ours answers ``path`` with 200."""
    host, port = sock.getsockname()[:2]
    connection = http.client.HTTPConnection(local.reachable(host), port, timeout=_PROBE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(settings: Settings, bundle: _Bundle) -> None:
    named = [_shown(each.url) for each in settings.upstream.endpoints]
    upstream = f"bundled {model.NAME} (llama.cpp)" if bundle.model is not None else ", ".join(named)
    click.echo(f"foreman is listening on {_url(bundle.web)}")
    click.echo(f"  page:     {_url(bundle.web)}/ui")
    click.echo(f"  upstream: {upstream}")
    if bundle.has_postgres:
        click.echo(f"  database: PostgreSQL (psql -h {postgres.socket_path(settings.data_dir).parent} postgres)")
    click.echo(f"  data:     {settings.data_dir}")
    if settings.keys_required:
        click.echo("  keys:     required; `foreman keys create NAME` makes one")
    click.echo("  Ctrl-C stops it")


def _shown(url: str) -> str:
    """``url`` less the user and password that it may have."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
