from __future__ import annotations

import pytest

from foreman import clock
from foreman.domain.delivery import RetryIn
from foreman.store import database
from foreman.store.setback import IN_FLIGHT_MS, STRIDE_MS, TOLERANCE_MS, Setback, seen_at
from tests.stores import BUSY, LATE, LEASE_MS, ORIGIN, SENDING_MS, T0, Engine, Stores, completion

HOUR_MS = 3_600_000

#: The moment to which the clock is set back at ``T0``.
BACK = T0 - HOUR_MS


@pytest.fixture
def setback(stores: Stores) -> Setback:
    """One that has seen ``T0``."""
    found = Setback()
    assert found.notice(T0) == 0
    return found


def test_work_that_was_due_is_due_after_the_clock_was_set_back(stores: Stores, setback: Setback) -> None:
    """A queued job can be claimed, and its event sent: neither lies there until the clock has caught up."""
    job_id = stores.submit(at=T0 - 1000).id
    assert stores.refuses_to_claim(BACK)
    assert setback.notice(BACK) == HOUR_MS
    assert stores.claim(BACK).job.id == job_id
    assert stores.events.claim(job_id, BACK) is not None


def test_a_wait_is_as_long_as_it_was(stores: Stores, setback: Setback) -> None:
    """A retry that was to come in a minute comes in a minute."""
    job_id = stores.submit(at=T0).id
    sending = stores.events.claim(job_id, T0)
    assert sending is not None
    stores.events.record(sending, BUSY, RetryIn(60.0), T0)
    setback.notice(BACK)
    assert stores.events.claim(job_id, BACK + 59_999) is None
    assert stores.events.claim(job_id, BACK + 60_000) is not None


def test_the_lease_of_a_dead_worker_ends_as_if_nothing_had_been(stores: Stores, setback: Setback) -> None:
    """A run's and a sender's: not an hour later."""
    job_id = stores.submit(at=T0).id
    stores.claim(T0)
    assert stores.events.claim(job_id, T0) is not None
    setback.notice(BACK)
    assert not stores.claims.expire(BACK + LEASE_MS, max_losses=10)
    assert stores.claims.expire(BACK + LEASE_MS + 1, max_losses=10)
    assert stores.events.claim(job_id, BACK + SENDING_MS) is None
    assert stores.events.claim(job_id, BACK + SENDING_MS + 1) is not None


def test_a_lease_renewed_since_is_left_alone(stores: Stores, setback: Setback) -> None:
    """Its holder is at work, and knows the new time."""
    stores.submit(at=T0)
    claim = stores.claim(T0)
    stores.renew(claim, BACK)
    setback.notice(BACK)
    assert not stores.claims.expire(BACK + LEASE_MS, max_losses=10)


def test_an_upstream_that_is_left_alone_and_a_completion_that_waits_are_found(stores: Stores, setback: Setback) -> None:
    """The one is asked again, the other is stored."""
    claim = stores.working(at=T0)
    stores.claims.complete(claim, completion(claim.job.id), {}, T0)
    stores.submit(at=T0)
    stores.hold(T0 + 1000)
    setback.notice(BACK)
    assert list(stores.artifacts.waiting(BACK + 1, 10)) == [claim.job.id]
    assert stores.refuses_to_claim(BACK + 999)
    stores.claim(BACK + 1000)


def test_a_circuit_is_open_for_as_long_as_it_was_to_be(stores: Stores, setback: Setback) -> None:
    """Its probe comes in ten seconds, not an hour and ten seconds later."""
    ids = [stores.submit(at=T0).id for _ in range(3)]
    for job_id in ids:
        stores.send(job_id, LATE, at=T0)
        stores.origins.failed(ORIGIN, LATE, jitter=1.0, now=T0)
    setback.notice(BACK)
    assert stores.events.claim(ids[0], BACK + 9_999) is None
    assert stores.events.claim(ids[0], BACK + 10_000) is not None


def test_a_setback_is_noticed_once(stores: Stores, setback: Setback) -> None:
    """What lies ahead afterwards is a wait by the new time."""
    assert setback.notice(BACK) == HOUR_MS
    stores.submit(at=BACK + 500)
    assert setback.notice(BACK + 400) == 0
    assert stores.refuses_to_claim(BACK + 499)


def test_clocks_of_several_machines_may_differ_a_little(stores: Stores, setback: Setback) -> None:
    """Nothing is moved for a difference within the tolerance, and the latest moment stays."""
    stores.submit(at=T0 + 1)
    assert setback.notice(T0 - TOLERANCE_MS) == 0
    assert stores.refuses_to_claim(T0)
    assert setback.notice(T0 - TOLERANCE_MS - 1) == TOLERANCE_MS + 1


def test_an_hour_ahead_is_no_setback(stores: Stores, setback: Setback) -> None:
    """The clock goes on from there, and back from there is one."""
    assert setback.notice(T0 + HOUR_MS) == 0
    assert setback.notice(T0) == HOUR_MS


def test_what_was_being_written_when_the_clock_was_set_back_is_due_as_well(stores: Stores, setback: Setback) -> None:
    """Its writer had read the clock before, and committed after all else was moved."""
    assert setback.notice(BACK) == HOUR_MS
    job_id = stores.submit(at=T0 + 500).id
    assert stores.refuses_to_claim(BACK + 1000)
    assert setback.notice(BACK + 1000) == 0
    assert stores.claim(BACK + 1000).job.id == job_id
    assert stores.events.claim(job_id, BACK + 1000) is not None


def test_the_lease_of_one_who_read_the_clock_before_ends_as_well(stores: Stores, setback: Setback) -> None:
    """It claimed by the clock as it was, and died."""
    stores.submit(at=BACK)
    assert setback.notice(BACK) == HOUR_MS
    stores.claim(T0)
    setback.notice(BACK + 1000)
    assert stores.claims.expire(BACK + LEASE_MS + 1, max_losses=10)


def test_a_wait_decided_on_since_is_left_alone(stores: Stores, setback: Setback) -> None:
    """A retry in ten minutes, an hour and a half: neither is what was being written."""
    setback.notice(BACK)
    for delay_s in (600.0, 5400.0):
        job_id = stores.submit(at=BACK).id
        sending = stores.events.claim(job_id, BACK)
        assert sending is not None
        stores.events.record(sending, BUSY, RetryIn(delay_s), BACK)
        setback.notice(BACK + 1000)
        due_at = BACK + round(delay_s * 1000)
        assert stores.events.claim(job_id, due_at - 1) is None
        assert stores.events.claim(job_id, due_at) is not None


def test_a_minute_later_nobody_writes_by_the_old_clock(stores: Stores, setback: Setback) -> None:
    """What then lies an hour ahead is a wait."""
    setback.notice(BACK)
    stores.submit(at=T0)
    assert setback.notice(BACK + IN_FLIGHT_MS) == 0
    assert stores.refuses_to_claim(T0 - 1)


def test_a_look_at_a_clock_that_goes_on_writes_nothing(engine: Engine, setback: Setback) -> None:
    """Until it has gone on by a stride: an idle foreman commits seldom."""
    assert setback.notice(T0 + STRIDE_MS - 1) == 0
    assert engine.rows("SELECT seen_at FROM clock") == [(T0,)]
    assert setback.notice(T0 + STRIDE_MS) == 0
    assert engine.rows("SELECT seen_at FROM clock") == [(T0 + STRIDE_MS,)]


def test_the_latest_moment_seen_can_be_asked_for(engine: Engine, setback: Setback) -> None:
    """By who looks whether the clock is right, who changes nothing."""
    setback.notice(T0 + HOUR_MS)
    assert seen_at() == T0 + HOUR_MS
    assert engine.rows("SELECT seen_at FROM clock") == [(T0 + HOUR_MS,)]


def test_a_server_tells_its_own_time(engine: Engine) -> None:
    """This machine's, since it runs here; SQLite has no clock but its caller's."""
    before = clock.now()
    told = database.server_now()
    if engine.kind == "sqlite":
        assert told is None
    else:
        assert told is not None
        assert before - 1 <= told <= clock.now() + 1
