"""What ``/metrics`` says, and that Prometheus can live with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from foreman.api.metrics import HOLD_TIMES, Count
from foreman.domain import metric
from foreman.errors import StoreUnavailable
from foreman.services.measure import Measurer
from foreman.store.counters import Counters
from foreman.store.gauges import Amounts, Gauges
from foreman.tally import Series
from tests.integration.api import Api, running_api
from tests.scrape import Scrape


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def scrape(api: Api) -> Scrape:
    """What is said once all that was counted was handed over."""
    Measurer(api.parts.tally, Counters()).hand_over()
    answer = api.get("/metrics", {"Accept": "application/openmetrics-text"})
    assert answer.status_code == 200
    return Scrape(answer.text)


def test_every_metric_is_there_from_the_beginning(api: Api) -> None:
    """A dashboard on a new installation finds what it asks for."""
    found = scrape(api)
    assert found.families == {each.name: each.kind for each in metric.METRICS}
    assert found.faults() == []


def test_what_may_happen_is_counted_before_it_happens(api: Api) -> None:
    """A series that begins at one did not increase to Prometheus: no alert would tell of the first dead event."""
    found = scrape(api)
    assert found.values("foreman_deliveries_total") == {
        (("outcome", outcome),): 0 for outcome in ("delivered", "retry", "dead", "stopped")
    }
    for each in metric.METRICS:
        if each.values:
            assert found.values(each.name) == {((each.labels[0], value),): 0 for value in each.values}
    api.submit()
    assert scrape(api).values("foreman_jobs_submitted_total") == {
        (("priority", priority),): float(priority == "normal") for priority in ("interactive", "normal", "batch")
    }


def test_requests_are_counted_by_the_template_of_their_route(api: Api) -> None:
    """Ids, and whatever else clients make up, are no labels."""
    job_id = api.submit()
    for path in (f"/jobs/{job_id}", "/jobs/00000000000000000000000000", "/made-up", "/made/up"):
        api.get(path)
    api.client.simulate_request("TRACE", "/jobs")
    found = scrape(api)
    counted = {labels: value for labels, value in found.values("foreman_http_requests_total").items() if value}
    assert counted == {
        (("method", "POST"), ("route", "/jobs"), ("status", "202")): 1,
        (("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "200")): 1,
        (("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "404")): 1,
        (("method", "GET"), ("route", "unmatched"), ("status", "404")): 2,
        (("method", "other"), ("route", "/jobs"), ("status", "405")): 1,
    }
    assert found.value("foreman_http_request_duration_seconds_count", route="/jobs/{job_id}") == 2
    assert found.value("foreman_jobs_submitted_total", priority="normal") == 1
    assert found.faults() == []


def test_a_process_that_cannot_hand_over_does_so_later(api: Api) -> None:
    """While the database is away nothing that was counted is lost."""

    class Away(Counters):
        def add(self, counted: Mapping[Series, float], now: int) -> None:
            raise StoreUnavailable

    tally = api.parts.tally
    tally.count(metric.DONE)
    Measurer(tally, Away()).hand_over()
    tally.count(metric.DONE)
    assert scrape(api).value("foreman_jobs_done_total") == 2


def test_counting_takes_a_twentieth_of_the_time_at_most(api: Api) -> None:
    """However many ask, and however much there is: what took a second is told again for twenty."""
    now = 0.0
    counted: list[float] = []

    class Slow(Gauges):
        def amounts(self, at: int) -> Amounts:
            nonlocal now
            counted.append(now)
            now += 1.0
            return super().amounts(at)

    count = Count(replace(api.parts.metrics, gauges=Slow()), monotonic=lambda: now)
    for _ in range(100):
        count.now()
        now += 1.0
    assert counted == [float(number * (HOLD_TIMES + 1)) for number in range(5)]
