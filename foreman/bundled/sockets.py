"""Where the Unix socket of a bundled server is: beside its data, or in a short directory of its own in ``/tmp``."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

#: Bytes a Unix socket's path may have, less the final NUL: 104 on macOS, 108 on Linux (``sun_path`` in ``sys/un.h``).
MAX_SOCKET_PATH_B = 103


class DirectoryUnsafe(Exception):
    """The directory the socket would be in belongs to somebody else, or others may enter it; the text says which."""


def socket_path(folder: Path, name: str, *, without: str = "") -> Path:
    """``name`` in ``folder``, or in a short temporary directory of its own where that is too long for a socket.

    ``without``: characters that it may not have, since they mean something to whoever is told of it.
    """
    path = folder.absolute() / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_B and not set(without) & set(str(path)):
        return path
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    # Not tempfile.gettempdir() alone: on macOS TMPDIR takes up half of what a socket's path may have.
    return Path(_short_temporary_directory()) / f"foreman-{os.getuid()}-{digest}" / name


def make_private(folder: Path, owner: tuple[int, int] | None = None) -> None:
    """Create ``folder`` for this user alone, or for ``owner`` (a user's and a group's id) where root says so.

    Raises:
        DirectoryUnsafe: it is there and is not just that: anybody may write to ``/tmp``.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if owner is not None:
            os.chown(folder, *owner)
    found = folder.lstat()
    uid = os.getuid() if owner is None else owner[0]
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        message = f"{folder} is not a private directory of user {uid}."
        raise DirectoryUnsafe(message)


def _short_temporary_directory() -> str:
    found = tempfile.gettempdir()
    return found if len(os.fsencode(found)) <= MAX_SOCKET_PATH_B // 3 else "/tmp"  # noqa: S108 -- made private above
