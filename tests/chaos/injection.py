"""What goes wrong inside a process of foreman, on command: its clock is set, it dies at a point, it has a known bug.

A folder shared with the test says what, and may change at any time:

``clock``           8 bytes, a native double: seconds by which the wall clock is wrong; mapped into memory.
``armed/<name>``    the first process to come to this failpoint moves the file to ``fired`` and dies by SIGKILL.
``mutants/<name>``  while it is there, foreman has this bug.
"""

from __future__ import annotations

import importlib
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.failpoints import Failpoint

#: The variable that names the folder; not called FOREMAN_…, which would be a setting.
FOLDER = "CHAOS_FOLDER"

_CLOCK = struct.Struct("d")


class Control:
    """The folder from the test's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("armed", "fired", "mutants"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "clock").write_bytes(_CLOCK.pack(0.0))

    def set_clock(self, wrong_by_s: float) -> None:
        """Let every process see the wall clock wrong by so much, from now on and all at once."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(_CLOCK.pack(wrong_by_s))

    def arm(self, failpoint: str) -> None:
        """Let the first process that comes there die."""
        (self.folder / "fired" / failpoint).unlink(missing_ok=True)
        (self.folder / "armed" / failpoint).touch()

    def disarm(self, failpoint: str) -> None:
        """Let nobody die there."""
        (self.folder / "armed" / failpoint).unlink(missing_ok=True)

    def fired(self, failpoint: str) -> bool:
        """Whether a process has died there since ``arm``."""
        return (self.folder / "fired" / failpoint).exists()

    def infect(self, mutant: str) -> None:
        """Give foreman this bug."""
        (self.folder / "mutants" / mutant).touch()

    def cure(self, mutant: str) -> None:
        """Take it away."""
        (self.folder / "mutants" / mutant).unlink(missing_ok=True)


def process_name() -> str:
    """Which of foreman's processes this is: ``web`` before and after it has become gunicorn."""
    return "web" if "gunicorn" in sys.orig_argv else sys.orig_argv[-1]


def arm(folder: str) -> None:
    """Put all of it into this process, before anything of foreman runs."""
    _bend_clock(Path(folder) / "clock")
    if "process" not in sys.orig_argv and process_name() != "web":
        return  # another command: `foreman migrate`, or a tool that happens to be Python
    from tests.chaos import failpoints, mutants

    # Failpoints first: a mutant that calls a function at another time must die at it too.
    for point in failpoints.POINTS:
        if point.process == process_name():
            owner, name = find(point.function)
            setattr(owner, name, _dying(getattr(owner, name), Path(folder), point))
    for mutant in mutants.MUTANTS.values():
        for function, change in mutant.changes.items():
            owner, name = find(function)
            old = getattr(owner, name)
            setattr(owner, name, _sick(old, change(old), Path(folder) / "mutants" / mutant.name))


def _bend_clock(path: Path) -> None:
    with path.open("rb") as file:
        wrong_by = mmap.mmap(file.fileno(), _CLOCK.size, access=mmap.ACCESS_READ)
    true_time, true_time_ns = time.time, time.time_ns
    time.time = lambda: true_time() + _CLOCK.unpack_from(wrong_by)[0]
    time.time_ns = lambda: true_time_ns() + int(_CLOCK.unpack_from(wrong_by)[0] * 1e9)


def find(function: str) -> tuple[Any, str]:
    """What ``package.module:name`` or ``package.module:Class.name`` is an attribute of, and its name there.

    Raises:
        AttributeError: there is no such thing.
    """
    module, _, path = function.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    getattr(owner, name)
    return owner, name


def _dying(old: Callable[..., Any], folder: Path, point: Failpoint) -> Callable[..., Any]:
    """``old``, at which the process dies if the point is armed."""
    armed, fired = folder / "armed" / point.name, folder / "fired" / point.name

    def perhaps_die(args: tuple[Any, ...], kwargs: dict[str, Any], came: object = None) -> None:
        if not armed.exists() or not point.when(args, kwargs, came):
            return
        try:
            armed.rename(fired)
        except FileNotFoundError:
            return  # another process was first
        os.kill(os.getpid(), signal.SIGKILL)

    @wraps(old)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            perhaps_die(args, kwargs)
        came = old(*args, **kwargs)
        if point.after:
            perhaps_die(args, kwargs, came)
        return came

    return call


def _sick(old: Callable[..., Any], mutated: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    """``mutated`` while the marker is there, else ``old``."""

    @wraps(old)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (mutated if marker.exists() else old)(*args, **kwargs)

    return call
