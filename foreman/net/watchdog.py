"""Ends a call at its deadline whatever the peer does, by shutting its socket down from one thread per process.

A socket timeout bounds one read, not a call: a peer that sends a byte now and then held a 2 s limit for 14.6 s.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from foreman.clock import monotonic


class Watch:
    """The deadline of one socket, from ``Watchdog.watch`` to the end of the ``with`` block.

    After ``fired`` or ``was_cut`` the socket reads as ended and fails to send; what the kernel had already received
    can still be read. Neither is set once the block was left.
    """

    __slots__ = ("_dup", "_watchdog", "deadline", "fired", "was_cut")

    def __init__(self, watchdog: Watchdog, dup: socket.socket, deadline_monotonic: float) -> None:
        self._watchdog = watchdog
        self._dup = dup
        #: On the scale of ``foreman.clock.monotonic``, seconds.
        self.deadline = deadline_monotonic
        #: The deadline passed, and the socket was shut down for it.
        self.fired = False
        #: Somebody called ``cut``, and the socket was shut down for it.
        self.was_cut = False

    def cut(self) -> None:
        """Shut the socket down now, from any thread. After the ``with`` block, or a second time, it does nothing."""
        self._watchdog._cut(self)  # noqa: SLF001  the two classes are one mechanism

    def _shut_down(self) -> None:
        try:
            self._dup.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster: there is no connection left to shut down

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watchdog._forget(self)  # noqa: SLF001  the two classes are one mechanism
        self._dup.close()


class Watchdog:
    """One thread that shuts each watched socket down at its deadline; started by the first watch, shared by all.

    Safe to create before a fork: the child starts a thread of its own and forgets the parent's sockets.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._reset()
        after_fork = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: (reset := after_fork()) and reset())

    def _reset(self) -> None:
        """Begin anew. A forked child has no thread, perhaps a lock held for ever, and watches that are its parent's."""
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        #: Until when the thread sleeps at the most, on the scale of ``foreman.clock.monotonic``.
        self._nearest = math.inf

    def watch(self, sock: socket.socket, deadline_monotonic: float) -> Watch:
        """Shut ``sock`` down at ``deadline_monotonic``, or at once when that has passed; use it as a context manager.

        The watch works on a duplicate descriptor: wrapping a socket in TLS detaches the first one, and a descriptor
        closed by its owner may by then belong to somebody else's connection.
        """
        watch = Watch(self, socket.fromfd(sock.fileno(), sock.family, sock.type), deadline_monotonic)
        with self._changed:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            if deadline_monotonic < self._nearest:
                self._changed.notify()  # else it wakes in time anyhow, and to wake it now would cost each call a switch
        return watch

    def _run(self) -> None:
        with self._changed:
            while True:
                now = self._clock()
                for watch in [watch for watch in self._watches if watch.deadline <= now]:
                    self._watches.discard(watch)
                    watch.fired = True
                    watch._shut_down()  # noqa: SLF001  the two classes are one mechanism
                self._nearest = min((watch.deadline for watch in self._watches), default=math.inf)
                self._changed.wait(None if self._nearest == math.inf else max(0.0, self._nearest - now))

    def _cut(self, watch: Watch) -> None:
        with self._changed:
            if watch in self._watches:
                self._watches.discard(watch)
                watch.was_cut = True
                watch._shut_down()  # noqa: SLF001  the two classes are one mechanism

    def _forget(self, watch: Watch) -> None:
        with self._changed:
            self._watches.discard(watch)
