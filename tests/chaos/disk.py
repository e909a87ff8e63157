"""A disk for one directory that can be filled to its last byte."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

#: Bytes: many times what a long storm leaves there. It is memory, of which only what is written is taken.
SIZE_B = 256 << 20

#: Bytes to write at once while it is being filled: large pieces until none fits, then small ones.
_PIECES_B = (1 << 20, 1 << 12, 1)


class Disk:
    """A file system in memory at ``directory``, which need not exist; ``with`` mounts and removes it. Needs root.

    What stands on it when the block fails is copied to ``<directory>-kept``.
    """

    def __init__(self, directory: Path, size_b: int = SIZE_B) -> None:
        assert os.geteuid() == 0, "to mount a file system, which is then filled, needs root"
        self._directory = directory
        self._size_b = size_b

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing more can be written while the block runs."""
        filler = self._directory / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                for piece in _PIECES_B:
                    _fill(file.fileno(), bytes(piece))
            yield
        finally:
            filler.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self._directory.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size_b},mode=0700", "tmpfs", str(self._directory))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is not None:
                shutil.copytree(self._directory, f"{self._directory}-kept", symlinks=True, ignore=_no_sockets)
        finally:
            _run("umount", "--lazy", str(self._directory))


def _fill(file: int, piece: bytes) -> None:
    """Write pieces until there is no space for one more."""
    while True:
        try:
            os.write(file, piece)
        except OSError as reason:
            if reason.errno != errno.ENOSPC:
                raise
            return


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
