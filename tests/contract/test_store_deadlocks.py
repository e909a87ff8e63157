"""Transactions over the same rows: they wait for each other in one order, so that PostgreSQL need not abort any."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from foreman.domain import metric
from foreman.domain.delivery import Dead
from foreman.domain.upstream import Slots, Survey
from foreman.errors import StoreUnavailable
from foreman.store import database
from foreman.store.counters import IDLE_MS, Counters
from foreman.store.models import JobRow
from foreman.store.setback import Setback
from foreman.store.upstreams import Upstreams
from foreman.tally import Tally
from tests.stores import BUSY, T0, UPSTREAM, Engine, Stores, wait_until

#: How far the clock goes back.
HOUR_MS = 3_600_000

RECOVER, PROBE, SETBACK = "recover", "probe", "setback"


def wait_for_waiting(engine: Engine, count: int) -> None:
    """Return when so many transactions wait for a lock; on SQLite they wait for their turn, in whatever order."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    if engine.kind == "postgresql":
        wait_until(lambda: len(engine.rows(waiting)) == count)


def lock(job_id: str) -> None:
    """Lock a job, within the caller's transaction."""
    database.locked(JobRow.select(JobRow.id).where(JobRow.id == job_id)).first()


@pytest.mark.parametrize("writers", [(RECOVER, PROBE), (RECOVER, SETBACK), (SETBACK, PROBE)], ids="-".join)
def test_those_who_write_to_many_jobs_do_not_wait_in_a_ring(
    engine: Engine, stores: Stores, writers: tuple[str, str]
) -> None:
    """A recovery, a probe that finds its upstream back, and a clock that was set back, whoever comes first."""
    upstreams = Upstreams((Slots(UPSTREAM, 2),))
    writes: dict[str, Callable[[], Any]] = {
        RECOVER: lambda: stores.redelivery.recover(T0, None, T0, place=None, limit=10),
        PROBE: lambda: upstreams.record({UPSTREAM: Survey(None, ())}, T0),
        SETBACK: lambda: Setback().notice(T0),
    }
    Setback().notice(T0 + HOUR_MS)
    first, second = sorted(stores.submit().id for _ in range(2))
    for job_id in (first, second):
        stores.send(job_id, BUSY, Dead())
    stores.claims.hold(UPSTREAM, T0 + 2 * HOUR_MS)
    with database.write():
        # The second is found first: it is ready before, and written before.
        for job_id, ready_at in ((second, T0 + HOUR_MS), (first, T0 + HOUR_MS + 1)):
            JobRow.update(ready_at=ready_at, avoided=UPSTREAM).where(JobRow.id == job_id).execute()
    with ThreadPoolExecutor() as pool:
        with database.write():
            lock(first)
            writing = []
            for each in writers:
                writing.append(pool.submit(writes[each]))
                wait_for_waiting(engine, len(writing))
        for done in writing:
            done.result()


def test_those_who_count_do_not_wait_in_a_ring(engine: Engine) -> None:
    """One takes an idle model's series away to count another's, while that model is just being counted again."""
    counters = Counters(models=1)

    def add(at: int, *models: str) -> None:
        tally = Tally()
        tally.count(metric.DONE)
        for model in models:
            tally.count(metric.TOKENS, model, "completion")
        counters.add(tally.take(), at)

    add(T0, "old")
    with ThreadPoolExecutor() as pool:
        with database.write():
            add(T0 + IDLE_MS + 1)
            adding = pool.submit(add, T0 + IDLE_MS + 1, "new")
            wait_for_waiting(engine, 1)
            add(T0 + IDLE_MS + 1, "old")
        adding.result()
    assert {series.labels: value for series, value in counters.all().items()}[()] == 4


def test_the_victim_of_a_deadlock_is_told_that_the_store_is_unavailable(engine: Engine, stores: Stores) -> None:
    """Whatever rows two transactions may yet want in two orders, one of them may be tried again: it is no fault."""
    if engine.kind == "sqlite":
        return  # there is one writer
    first, second = (stores.submit().id for _ in range(2))

    def backwards() -> None:
        with database.write():
            lock(second)
            lock(first)

    def forwards() -> None:
        with database.write():
            lock(first)
            going.append(pool.submit(backwards))
            wait_for_waiting(engine, 1)
            lock(second)

    going: list[Future[None]] = []
    with ThreadPoolExecutor() as pool:
        going.append(pool.submit(forwards))
        going[0].exception()  # it has begun the other
    [victim] = [error for each in going if (error := each.exception()) is not None]
    assert isinstance(victim, StoreUnavailable)
