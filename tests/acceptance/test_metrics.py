from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.acceptance.stack import PATIENCE_S, Stack, eventually, with_jobs_processes
from tests.promql import SCRAPED, known
from tests.scrape import Scrape
from tests.upstream import reply


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two processes that serve and two that run jobs, none of which retries for long."""
    env = {"FOREMAN_WEB_WORKERS": "2", "FOREMAN_JOBS_TTL_S": "0", "FOREMAN_PRUNE_INTERVAL_S": "1"}
    with Stack(tmp_path_factory.mktemp("metrics"), env, with_jobs_processes(2)) as running:
        yield running


def scrape(stack: Stack) -> Scrape:
    """What one of the web processes says now."""
    answer = stack.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.status == 200
    return Scrape(answer.raw.decode())


def until(stack: Stack, name: str, value: float, **labels: str) -> None:
    """Wait until every process has handed over what it counted: at ``value`` exactly, which is never passed."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := scrape(stack).value(name, **labels)) < value:
        assert time.monotonic() < deadline, f"{name} {labels}: {found}"
        time.sleep(0.25)
    assert found == value, f"{name} {labels}"


def run(stack: Stack, count: int) -> None:
    """Run jobs to their end, deliveries included."""
    before = len(stack.receiver.events)
    for _ in range(count):
        stack.submit()
    eventually(lambda: len(stack.receiver.events) == before + 4 * count, f"{4 * count} more events")


def test_all_processes_are_in_one_scrape_and_a_killed_one_stays_in_it(stack: Stack) -> None:
    """Whichever web process answers, and whoever counted: nothing goes down when a process dies or comes again."""
    stack.upstream.default = reply("Hello", "!")
    run(stack, 6)
    # What is told by now: a process that is killed takes along what it counted in the last seconds.
    until(stack, "foreman_deliveries_total", 24, outcome="delivered")
    until(stack, "foreman_runs_total", 6, outcome="completion")
    for name in ("jobs1", "jobs2", "webhooks"):
        stack.kill(name)
    for name in ("jobs1", "webhooks"):
        stack.start(name)
    run(stack, 2)
    until(stack, "foreman_jobs_done_total", 8)
    until(stack, "foreman_runs_total", 8, outcome="completion", upstream="default")
    until(stack, "foreman_tokens_total", 8 * 26, model="m", kind="prompt")
    until(stack, "foreman_tokens_total", 8 * 2, model="m", kind="completion")
    until(stack, "foreman_jobs_submitted_total", 8, priority="normal")
    until(stack, "foreman_http_requests_total", 8, method="POST", route="/jobs", status="202")
    until(stack, "foreman_deliveries_total", 32, outcome="delivered")
    until(stack, "foreman_pruned_rows_total", 8, table="jobs")
    for timed, count in (("job_wait", 8), ("job_duration", 8), ("run", 8), ("delivery_lag", 32), ("delivery", 32)):
        until(stack, f"foreman_{timed}_seconds_count", count)
    assert scrape(stack).faults() == []


def test_what_is_scraped_has_the_labels_that_are_declared(stack: Stack) -> None:
    """Each series of a foreman at work, values included where the code fixes them: by these, queries are judged."""
    stack.upstream.default = reply("Hello", "!")
    run(stack, 1)
    series, found = known(), scrape(stack)
    assert found.names == set(series)
    for name, each in series.items():
        for labels in map(dict, found.values(name)):
            assert labels.keys() == each.labels - SCRAPED, name
            assert not each.metric.values or labels[each.metric.labels[0]] in each.metric.values, name
