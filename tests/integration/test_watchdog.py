from __future__ import annotations

import os
import socket
import threading
from time import monotonic

import pytest

from foreman.net.watchdog import Watchdog


def test_a_blocked_read_ends_at_the_deadline() -> None:
    """A peer that sends nothing holds the reader to the deadline and no longer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = monotonic()
        with Watchdog().watch(ours, began + 0.1) as watch:
            assert ours.recv(1) == b""
            assert watch.fired
        assert 0.1 <= monotonic() - began < 5


def test_a_nearer_deadline_overtakes_a_farther_one() -> None:
    """The thread that sleeps towards a far deadline wakes for a nearer one that comes later."""
    watchdog = Watchdog()
    far, far_peer = socket.socketpair()
    near, near_peer = socket.socketpair()
    with far, far_peer, near, near_peer:
        with watchdog.watch(far, monotonic() + 60) as patient, watchdog.watch(near, monotonic() + 0.05) as hasty:
            assert near.recv(1) == b""
            assert hasty.fired
            assert not patient.fired
        far_peer.sendall(b"x")
        assert far.recv(1) == b"x"


def test_a_cut_from_another_thread_ends_a_blocked_read_at_once() -> None:
    """A cancelled call ends when it is cancelled, not at its deadline, and says which of the two it was."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Watchdog().watch(ours, monotonic() + 60) as watch:
        canceller = threading.Thread(target=watch.cut)
        canceller.start()
        assert ours.recv(1) == b""
        canceller.join()
        assert watch.was_cut
        assert not watch.fired


def test_a_call_that_ended_in_time_is_left_alone() -> None:
    """After the block neither the deadline nor a late cut touches the socket or whoever got its descriptor next."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with Watchdog().watch(ours, monotonic() + 60) as watch:
            pass
        watch.cut()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        assert not watch.was_cut


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_deadlines_of_its_own() -> None:
    """A watchdog made, and used, before a fork works in the child and leaves the parent's connections alone there."""
    watchdog = Watchdog()
    ours, theirs = socket.socketpair()
    with ours, theirs, watchdog.watch(ours, monotonic() + 60) as watch:
        child = os.fork()
        if child == 0:
            mine, peer = socket.socketpair()
            with mine, peer, watchdog.watch(mine, monotonic() + 0.05) as own:
                ended = mine.recv(1) == b""
                os._exit(0 if ended and own.fired else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        assert not watch.fired
