"""Runs a command that cannot outlive the process that started it, however that one dies.

``python -I -S tether.py PARENT_PID [--as UID:GID] COMMAND…``. On Linux the kernel is asked to kill this process when
its parent dies, and the command takes its place. Elsewhere this process stays, passes signals on, and watches whose
child it is. It is run by its path and imports the standard library only, so that it costs a few hundredths of a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

#: Linux, ``prctl(2)``: the signal to get when the thread that forked us ends. It survives ``execve``.
_PR_SET_PDEATHSIG = 1
#: Seconds between looks at the parent where the kernel does not tell.
_WATCH_S = 0.5
#: What a shell gives as the status of a command that a signal ended, plus that signal.
_SIGNALLED = 128


def die_with(parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when ``parent``, a process id, dies. Linux only; else nothing.

    SIGKILL, so that a second start finds nothing of the first: all state is made to survive it.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel knew, and will not die again.
        os.kill(os.getpid(), signal.SIGKILL)


def watch(parent: int, command: Sequence[str]) -> int:
    """Run ``command`` until it ends or ``parent`` is no longer this process's parent; its exit status."""
    # Descriptors were chosen by who started us: the command gets what we got.
    child = subprocess.Popen(command, close_fds=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda sent, _frame: child.send_signal(sent))
    while True:
        try:
            status = child.wait(_WATCH_S)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.kill()
        else:
            return status if status >= 0 else _SIGNALLED - status


def become(account: str) -> None:
    """Be the user and group of ``UID:GID`` from now on, with no other group; for root only."""
    uid, gid = map(int, account.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main() -> None:
    """Become, or watch over, the command in ``sys.argv``."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if command[0] == "--as":
        # First: the kernel forgets whom to kill when a process changes its user.
        become(command[1])
        command = command[2:]
    if sys.platform != "linux":
        sys.exit(watch(parent, command))
    die_with(parent)
    os.execv(command[0], command)  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":
    main()
