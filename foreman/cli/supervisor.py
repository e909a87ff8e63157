"""Keeps a set of processes running: starts them in order, restarts what dies, and stops them in the opposite order.

One thread does it all, woken by signals and by output, since the processes die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

from foreman import clock
from foreman.cli.child import Child, Process
from foreman.cli.console import Console, Lines

#: Seconds between looks while something starts, stops or waits for its restart; signals and output wake it at once.
_TICK_S = 0.05
#: Deaths in a row of one child after which a start is given up: by then it has had 7.5 s, and a mistake in the settings
#: does not go away.
_START_TRIES = 5
#: Seconds within which a second SIGINT or SIGTERM is the same one: a terminal and whoever runs us may both send it.
_SAME_SIGNAL_S = 1.0

_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
#: The name under which the supervisor itself speaks.
NAME = "foreman"


class Supervisor:
    """Runs ``children`` until told to stop; ``on_ready`` is called once, when all of them are ready."""

    def __init__(self, children: Sequence[Child], console: Console, on_ready: Callable[[], None]) -> None:
        self._processes = [Process(child) for child in children]
        self._lines = {child.name: Lines() for child in children}
        self._console = console
        self._on_ready = on_ready
        self._selector = selectors.DefaultSelector()
        self._all_were_ready = False
        #: When it was asked for; ``None``: it was not.
        self._stop_asked_at: float | None = None
        self._stop_announced = False
        self._kill_asked = False
        self._status = 0

    def run(self) -> int:
        """Block until every child has stopped; the exit status: 0 if that was asked for, 1 if the start failed.

        SIGINT, SIGTERM and SIGHUP ask for it; one more, a second later, kills instead.
        """
        with self._signals():
            while self._stop_asked_at is None or any(process.is_running for process in self._processes):
                self._reap()
                self._move(clock.monotonic())
                self._wait()
        return self._status

    def _move(self, now: float) -> None:
        if self._stop_asked_at is not None:
            self._stop(now)
            return
        self._start(now)
        if not self._all_were_ready and all(process.is_ready for process in self._processes):
            self._all_were_ready = True
            self._on_ready()

    def _start(self, now: float) -> None:
        """Start what is due: of the lowest stage that is not ready all, and of those below it."""
        for process in sorted(self._processes, key=_stage):
            if process.child.stage > self._reached():
                return
            if not process.is_running and process.start_at <= now:
                process.start(now)
                self._selector.register(process.output, selectors.EVENT_READ, process)
            if process.is_running and not process.is_ready:
                process.is_ready = process.child.ready is None or process.child.ready()

    def _reached(self) -> int:
        """The lowest stage with a child that is not ready. Once all were, none waits for another any more."""
        waiting = [process.child.stage for process in self._processes if not process.is_ready]
        highest = max(process.child.stage for process in self._processes)
        return highest if self._all_were_ready else min(waiting, default=highest)

    def _stop(self, now: float) -> None:
        """Ask the highest stage that still runs to stop, and kill what has had its time."""
        if not self._stop_announced:
            self._stop_announced = True
            self._say("stopping")
        running = [process for process in self._processes if process.is_running]
        highest = max(map(_stage, running), default=0)
        for process in running:
            if process.child.stage == highest:
                process.stop(now)
            due = process.kill_at is not None and process.kill_at <= now
            if (self._kill_asked or due) and process.kill_at != math.inf:
                how = (
                    "is killed" if self._kill_asked else f"did not stop within {process.child.grace_s:g} s; killing it"
                )
                self._say(f"{process.child.name} {how}")
                process.kill()
                process.kill_at = math.inf

    def _reap(self) -> None:
        for process in self._processes:
            status = process.reap()
            if status is None:
                continue
            with contextlib.suppress(KeyError):
                self._selector.unregister(process.output)
            while self._read(process):
                pass
            self._show(process, self._lines[process.child.name].end())
            process.close()
            process.is_ready = False
            if self._stop_asked_at is None:
                self._died(process, status)

    def _died(self, process: Process, status: int) -> None:
        delay_s = process.failed(clock.monotonic())
        how = f"{process.child.name} {_ending(status)}"
        if not self._all_were_ready and process.failures >= _START_TRIES:
            self._say(f"{how}, {process.failures} times before it was ready; giving up")
            self._status = 1
            self._stop_asked_at = clock.monotonic()
            return
        again = f" ({process.failures} times in a row)" if process.failures > 1 else ""
        self._say(f"{how}{again}; starting it again in {delay_s:g} s")

    def _asked(self, _number: int, _frame: object) -> None:
        """Note a signal. It may come at any moment, in the middle of a write too, so the loop does what follows."""
        now = clock.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
        elif now - self._stop_asked_at > _SAME_SIGNAL_S:
            self._kill_asked = True
            self._status = 1

    def _wait(self) -> None:
        """Sleep until a child prints, a signal comes, or there may be something to do."""
        at_rest = self._stop_asked_at is None and all(process.is_ready for process in self._processes)
        for key, _ in self._selector.select(None if at_rest else _TICK_S):
            if isinstance(key.data, Process):
                if not self._read(key.data):
                    # The end: it has died, or closed its output and lives on.
                    self._selector.unregister(key.fd)
            else:
                os.read(key.fd, 4096)

    def _read(self, process: Process) -> bool:
        data = process.read()
        self._show(process, self._lines[process.child.name].feed(data))
        return bool(data)

    def _show(self, process: Process, lines: Sequence[str]) -> None:
        hush = process.child.hush
        for line in lines:
            if not hush or hush not in line:
                self._console.show(process.child.name, line)

    def _say(self, line: str) -> None:
        self._console.show(NAME, line)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals wake the loop, and put things back as they were afterwards."""
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.settimeout(0)
            writer.settimeout(0)
            self._selector.register(reader, selectors.EVENT_READ)
            wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            # A SIGHUP that is ignored stays so: that is how nohup works.
            heard = [
                number for number in _STOPPING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
            ]
            before = {number: signal.signal(number, self._asked) for number in heard}
            # Without a handler, the end of a child would not wake us.
            before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
            try:
                yield
            finally:
                signal.set_wakeup_fd(wakeup)
                for number, handler in before.items():
                    signal.signal(number, handler)
                self._selector.close()


def _stage(process: Process) -> int:
    return process.child.stage


def _ending(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
