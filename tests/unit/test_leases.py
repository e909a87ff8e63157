from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from foreman.errors import StoreUnavailable
from foreman.services.leases import LeaseKeeper

#: Seconds that a claim holds: three renewals, which come in time on a busy machine.
LEASE_S = 6.0

#: Seconds in which what must happen has happened.
DEADLINE_S = 60.0

CLAIM: Any = SimpleNamespace(job=SimpleNamespace(id="01TEST"), token=1)


class Database:
    """As much of ``Claims`` as a keeper uses: it answers, it is ``away``, or it never says a word."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.renewals = 0
        self.over = threading.Event()

    def renew(self, _claim: Any, _now: int) -> None:
        """A renewal."""
        self._answer()
        self.renewals += 1

    def wanted(self, _claim: Any) -> None:
        """Nobody wants anything, as far as that can be known."""
        self._answer()

    def _answer(self) -> None:
        if self.how == "silent":
            self.over.wait(DEADLINE_S)
        if self.how != "there":
            raise StoreUnavailable(self.how)


def keeper(database: Database) -> LeaseKeeper:
    """On this database, in a process that nobody stops."""
    return LeaseKeeper(cast("Any", database), LEASE_S, threading.Event(), 0.0)


def test_a_run_goes_on_while_its_lease_is_renewed() -> None:
    """For longer than one lease."""
    database, cut = Database("there"), threading.Event()
    with keeper(database).keep(CLAIM, time.monotonic()) as held:
        held.cut = cut.set
        deadline = time.monotonic() + DEADLINE_S
        while database.renewals < 4:
            assert time.monotonic() < deadline, "it is not renewed"
            time.sleep(0.02)
        assert not held.over
    assert not cut.is_set()


@pytest.mark.parametrize("how", ["away", "silent"])
def test_a_run_is_cut_before_a_lease_that_cannot_be_renewed_is_over(how: str) -> None:
    """Whether the database refuses, or does not answer at all and holds up whoever asked for longer than a lease."""
    database, cut = Database(how), threading.Event()
    with keeper(database).keep(CLAIM, time.monotonic()) as held:
        held.cut = cut.set
        assert cut.wait(DEADLINE_S)
        assert held.lost
        database.over.set()


def test_a_claim_that_took_longer_than_its_lease_is_cut_at_once() -> None:
    """A lease counts from when it was asked for: the database may have been slow to say yes."""
    database, cut = Database("silent"), threading.Event()
    with keeper(database).keep(CLAIM, time.monotonic() - LEASE_S) as held:
        held.cut = cut.set
        assert cut.wait(DEADLINE_S)
        database.over.set()
