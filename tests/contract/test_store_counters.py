from __future__ import annotations

from collections import Counter

import pytest

from foreman.domain import metric
from foreman.domain.job import Priority
from foreman.domain.lifecycle import State
from foreman.store.counters import IDLE_MS, NAME_LIMIT, Counters
from foreman.store.gauges import Gauges, Place
from foreman.tally import Series, Tally
from tests.stores import BOOM, T0, Engine, Stores, completion, counts, request, together


def ran(*models: str) -> dict[Series, float]:
    """One run of each model, as a process counts them."""
    tally = Tally()
    for model in models:
        tally.count(metric.TOKENS, model, "completion", by=10)
    return tally.take()


def tokens(counters: Counters) -> dict[str, float]:
    """Tokens by model."""
    return {series.labels[0]: value for series, value in counters.all().items()}


def test_what_many_processes_counted_is_added_up(engine: Engine) -> None:
    """None waits for another for ever, and nothing is lost or counted twice."""
    counters = Counters()

    def one(number: int) -> None:
        tally = Tally()
        for _ in range(5):
            tally.count(metric.DONE)
            tally.count(metric.FAILED, f"code{number % 2}")
            tally.observe(metric.LAG, 0.02)
            counters.add(tally.take(), T0)

    together(8, one)
    assert counters.all() == {
        Series(metric.DONE): 40,
        Series(metric.FAILED, ("code0",)): 20,
        Series(metric.FAILED, ("code1",)): 20,
        Series(metric.LAG, (), "0.05"): 40,
        Series(metric.LAG, (), "sum"): pytest.approx(0.8),
    }


def test_models_beyond_the_bound_are_other(engine: Engine) -> None:
    """Whatever names clients make up, the series are as many as before; those that have their own keep them."""
    counters = Counters(models=2)
    counters.add(ran("a", "b"), T0)
    counters.add(ran("c", "a", "d"), T0 + 1)
    counters.add(ran("x" * (NAME_LIMIT + 1)), T0 + 1)
    assert tokens(counters) == {"a": 20, "b": 10, metric.OTHER: 30}


def test_a_model_that_is_used_no_more_gives_its_series_to_another(engine: Engine) -> None:
    """Its series end and the other's begin at nothing; none goes down, which would look like a restart."""
    counters = Counters(models=2)
    counters.add(ran("old", "used"), T0)
    counters.add(ran("used"), T0 + IDLE_MS)
    counters.add(ran("new", "newer"), T0 + IDLE_MS + 1)
    assert tokens(counters) == {"used": 20, "new": 10, metric.OTHER: 10}


def test_live_jobs_are_counted_by_state_model_and_priority(stores: Stores) -> None:
    """Each once: whether it is ready, claimed, between two runs, or waits to be stored."""
    Counters().add(ran("smol"), T0)
    batch = request(priority=Priority.BATCH)
    waiting_to_be_stored = stores.working()
    stores.claims.complete(waiting_to_be_stored, completion(waiting_to_be_stored.job.id), {}, T0)
    between_two_runs = stores.working()
    stores.claims.retry(between_two_runs, T0 + 60_000, counted=True)
    stores.working(request(model="strange"))
    stores.done()
    stores.claims.fail(stores.working(), BOOM, T0)
    stores.submit()
    stores.claim()
    stores.submit(request(model="strange"), at=T0 + 5)
    stores.submit(batch, at=T0 + 10)
    stores.submit(batch, at=T0 + 20)
    found = Gauges().amounts(T0 + 30)
    assert found.queue == Counter(
        {
            Place(State.WORKING, "smol", Priority.NORMAL): 2,
            Place(State.WORKING, metric.OTHER, Priority.NORMAL): 1,
            Place(State.QUEUED, "smol", Priority.NORMAL): 1,
            Place(State.QUEUED, metric.OTHER, Priority.NORMAL): 1,
            Place(State.QUEUED, "smol", Priority.BATCH): 2,
        }
    )
    assert found.jobs == counts()
    assert found.oldest_ms == {Priority.NORMAL: 25, Priority.BATCH: 20}
    assert found.unstored == 1
