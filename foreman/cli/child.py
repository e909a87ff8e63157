"""One child of the supervisor: how it is started, told to stop, and read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foreman.cli import tether
from foreman.domain.backoff import retry_delay_s

#: Seconds before a child that died is started again: at once enough not to be noticed, then doubling, so that one that
#: cannot live does not take the machine's time.
FIRST_RESTART_S = 0.5
MAX_RESTART_S = 10.0
#: Seconds after which a child counts as healthy, and its next death as the first.
HEALTHY_S = 30.0

#: Bytes of output taken at a time: what a pipe holds, so that one talkative child does not keep the others waiting.
_READ_B = 64 << 10


@dataclass(frozen=True, slots=True)
class Child:
    """What to run. Lower ``stage`` starts earlier and stops later; children of one stage start and stop together."""

    name: str
    argv: Sequence[str]
    stage: int
    #: Asked often while the child starts, so it must answer at once; ``None``: ready when started.
    ready: Callable[[], bool] | None = None
    #: Seconds from being asked to stop to SIGKILL.
    grace_s: float = 5.0
    #: The whole environment; ``None``: this process's.
    env: Mapping[str, str] | None = None
    #: Descriptors the child inherits under the same numbers.
    fds: tuple[int, ...] = ()
    #: A line with this in it is not shown; empty: all are.
    hush: str = ""
    #: The directory to start in; ``None``: this process's.
    cwd: Path | None = None
    #: The ids of the user and the group to run as; ``None``: this process's.
    account: tuple[int, int] | None = None
    #: What asks it to stop.
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(slots=True)
class Process:
    """A child and the process that runs it now, if one does. Times are seconds of the monotonic clock."""

    child: Child
    is_ready: bool = False
    #: Deaths in a row, each before it was ``HEALTHY_S`` old.
    failures: int = 0
    #: When to start it; 0: as soon as its stage may.
    start_at: float = 0.0
    started_at: float = 0.0
    #: When it is killed if it has not stopped by itself; ``None``: it has not been told to.
    kill_at: float | None = None
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process, or one whose end has not been noticed."""
        return self._popen is not None

    @property
    def output(self) -> int:
        """The descriptor of what it prints, stdout and stderr together."""
        if self._popen is None or self._popen.stdout is None:
            raise ValueError(f"{self.child.name} does not run")
        return self._popen.stdout.fileno()

    def start(self, now: float) -> None:
        """Start the process.

        It leads a session of its own, so that a Ctrl-C at the terminal reaches the supervisor only, and its whole group
        can be killed. It dies with this process, and must be started by a thread that lives as long.

        Raises:
            OSError: the command cannot be started.
        """
        argv = [sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid())]
        if self.child.account is not None:
            argv += ["--as", ":".join(map(str, self.child.account))]
        self._popen = subprocess.Popen(
            [*argv, *self.child.argv],
            cwd=self.child.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if self.child.env is None else dict(self.child.env),
            pass_fds=self.child.fds,
            start_new_session=True,
        )
        self.started_at = now
        self.kill_at = None
        os.set_blocking(self.output, False)

    def reap(self) -> int | None:
        """The status of the process if it has ended since the last look (minus the signal if one ended it)."""
        if self._popen is None or self._popen.poll() is None:
            return None
        # What it started and left behind would hold its sockets and write among its successor's lines.
        self.kill()
        status = self._popen.returncode
        return int(status)

    def close(self) -> None:
        """Forget the ended process."""
        if self._popen is not None and self._popen.stdout is not None:
            self._popen.stdout.close()
        self._popen = None

    def failed(self, now: float) -> float:
        """Count its end as a failure; the seconds until it is to be started again."""
        self.failures = self.failures + 1 if now - self.started_at < HEALTHY_S else 1
        delay_s = retry_delay_s(self.failures, first_s=FIRST_RESTART_S, max_s=MAX_RESTART_S, jitter=1.0)
        self.start_at = now + delay_s
        return delay_s

    def stop(self, now: float) -> None:
        """Ask it to stop, and set when it will be made to."""
        if self._popen is not None and self.kill_at is None:
            self.kill_at = now + self.child.grace_s
            self._popen.send_signal(self.child.stop_signal)

    def kill(self) -> None:
        """Kill it and all it started."""
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # macOS answers EPERM when only the dead are left in the group.
                os.killpg(self._popen.pid, signal.SIGKILL)

    def read(self) -> bytes:
        """What it printed since the last look, at most ``_READ_B``; empty: nothing, or nothing any more."""
        try:
            return os.read(self.output, _READ_B)
        except BlockingIOError:
            return b""
