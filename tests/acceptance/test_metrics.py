from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from foreman.domain import metric
from tests.acceptance.stack import PATIENCE_S, ROOT, Stack, eventually, with_jobs_processes
from tests.scrape import Scrape
from tests.upstream import reply

OPERATING = ROOT / "docs/operating"

_NAME = re.compile(r"\bforeman_\w+")


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


def expressions() -> list[str]:
    """Every query of the dashboard and of the alert rules."""
    dashboard = json.loads((OPERATING / "grafana.json").read_text())
    rules = yaml.safe_load((OPERATING / "alerts.yml").read_text())
    shown: list[Any] = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    alerts: list[Any] = [rule for group in rules["groups"] for rule in group["rules"]]
    return [str(each["expr"]) for each in (*shown, *alerts)]


def test_the_dashboard_and_the_alerts_ask_for_what_there_is(stack: Stack) -> None:
    """Every name is in a real scrape, with the labels that are asked for; and no metric is shown to nobody."""
    found = scrape(stack)
    asked = {name for each in expressions() for name in _NAME.findall(each)}
    assert asked - found.names == set()
    unseen = {each.name for each in metric.METRICS if not any(name.startswith(each.name) for name in asked)}
    assert unseen == set()
    labels = {label for each in metric.METRICS for label in each.labels} | {"le"}
    used = {
        label.strip() for each in expressions() for by in re.findall(r"by \(([^)]*)\)", each) for label in by.split(",")
    }
    used |= {label for each in expressions() for label in re.findall(r"[{,](\w+)[!=]", each)}
    assert used <= labels
