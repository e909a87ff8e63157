"""Finds GCC's OpenMP runtime for llama.cpp: its wheel needs ``libgomp.so.1`` and, unlike most, does not carry it.

A desktop has it; a bare Debian or a slim container image has not. The wheel of igraph carries one, under a name of its
own, and is installed for nothing else. Linux only: on macOS the binding needs none.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

#: The name under which the loader looks for it.
LIBRARY = "libgomp.so.1"

#: How the threads of llama.cpp wait for each other after each step of a token: asleep. By default they spin, which on a
#: machine with other work to do keeps the core from the very thread that is waited for: 2 tokens a second with sixteen
#: processes on two cores, and 94 so (measured).
WAITING = {"OMP_WAIT_POLICY": "passive"}


def environ(directory: Path, current: Mapping[str, str]) -> dict[str, str]:
    """``current``, with what a process needs that imports xllamacpp; how it waits is the operator's, if they say so.

    Where the system lacks the library, makes ``directory`` and a link in it. The loader reads the variables at the
    start of a process, never later.
    """
    carried = None if sys.platform != "linux" or _is_installed() else _carried()
    if carried is None:
        return WAITING | dict(current)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = directory / LIBRARY
    link.unlink(missing_ok=True)
    link.symlink_to(carried)
    paths = [str(directory), *filter(None, [current.get("LD_LIBRARY_PATH")])]
    return {**WAITING, **current, "LD_LIBRARY_PATH": ":".join(paths)}


def _is_installed() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _carried() -> Path | None:
    """The library in igraph's wheel; the package is only located, not imported."""
    spec = importlib.util.find_spec("igraph")
    if spec is None or spec.origin is None:
        return None
    beside = Path(spec.origin).parent.parent / "igraph.libs"
    return next(iter(sorted(beside.glob("libgomp-*.so*"))), None)
