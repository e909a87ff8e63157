"""The alert rules and the dashboard in ``docs/operating/``: Prometheus and Grafana take them, and they work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from foreman.domain.metric import METRICS
from tests.promql import Query

OPERATING = Path(__file__).parents[2] / "docs/operating"
DASHBOARD: Any = json.loads((OPERATING / "grafana.json").read_text())
GROUPS: list[Any] = yaml.safe_load((OPERATING / "alerts.yml").read_text())["groups"]
PANELS: list[Any] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS: list[Any] = [target for panel in PANELS for target in panel["targets"]]
RULES: list[Any] = [rule for group in GROUPS for rule in group["rules"]]

#: What Go's template language of annotations is used for: a label, or the value, perhaps in words.
_TEMPLATE = re.compile(r"\{\{(.*?)\}\}")
_LABEL = re.compile(r" \$labels\.(\w+) ")
_VALUE = re.compile(r" \$value( \| humanize(Duration|Percentage)?)? ")


@pytest.mark.parametrize("expr", [each["expr"] for each in (*TARGETS, *RULES)])
def test_a_query_asks_for_what_there_is(expr: str) -> None:
    """Its metrics, their labels and, where the code fixes them, their values exist; both sides of an operator match."""
    assert Query(expr).faults == []


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("foreman_job", "there is no metric foreman_job"),
        ("foreman_jobs_done", "there is no metric foreman_jobs_done"),
        ("rate(foreman_run_seconds[5m])", "there is no metric foreman_run_seconds"),
        ("sum by (model) (foreman_jobs)", "there is no label model"),
        ("sum without (model) (foreman_jobs)", "there is no label model"),
        ('foreman_jobs{status="done"}', "there is no label status"),
        ('foreman_deliveries_total{outcome="died"}', "outcome is never died"),
        ('foreman_jobs_failed_total{code!~"canceled|stalled"}', "code is never canceled"),
        ("rate(foreman_jobs[5m])", "foreman_jobs is a gauge, which has no rate"),
        ("histogram_quantile(0.5, sum(rate(foreman_run_seconds_bucket[5m])))", "there is no label le"),
        ("sum(foreman_jobs) and foreman_events_dead", "the two sides have different labels, and never match"),
        ("foreman_jobs and on (model) foreman_queue_jobs", "there is no label model"),
        ("sum by (state) (sum by (model) (foreman_queue_jobs))", "there is no label state"),
    ],
)
def test_a_query_that_would_never_answer_is_found(expr: str, fault: str) -> None:
    """Each of these is good PromQL; Prometheus would answer it with nothing, for ever."""
    assert Query(expr).faults == [fault]


@pytest.mark.parametrize("expr", ["sum by (state (foreman_jobs)", "rate(foreman_jobs_done_total)", "foreman_jobs >"])
def test_what_is_no_query_is_refused(expr: str) -> None:
    """As Prometheus itself would, at its start."""
    with pytest.raises(ValueError, match=r"\w"):
        Query(expr)


def test_every_metric_is_shown_to_somebody() -> None:
    """On the dashboard or by an alert: one that nobody can see is not worth counting."""
    asked = {name for each in (*TARGETS, *RULES) for name in Query(each["expr"]).names}
    assert [each.name for each in METRICS if not any(name.startswith(each.name) for name in asked)] == []


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_a_rule_is_one_that_prometheus_loads(rule: Any) -> None:
    """Its keys, its durations and its words; and each label in its words is one that the alert then has."""
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"Foreman([A-Z][a-z]+)+", rule["alert"])
    assert promql.parse_duration(rule.get("for", "1s")).total_seconds() > 0
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    labels = Query(rule["expr"]).labels | rule["labels"].keys()
    for text in rule["annotations"].values():
        assert not text.endswith(" ")
        for template in _TEMPLATE.findall(text):
            named = _LABEL.fullmatch(template)
            assert named[1] in labels if named else _VALUE.fullmatch(template)


def test_rules_are_in_groups_that_prometheus_loads() -> None:
    """Groups and alerts have names of their own, and no key that it would refuse."""
    assert [group.keys() - {"interval"} for group in GROUPS] == [{"name", "rules"}] * len(GROUPS)
    assert len({group["name"] for group in GROUPS}) == len(GROUPS)
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_a_rule_compares() -> None:
    """One that only selects would fire for ever: each says from when on it is bad, or that something is absent."""
    calm = [rule["alert"] for rule in RULES if not re.search(r"[<>]|== 0|^absent\(", rule["expr"])]
    assert calm == []


@pytest.mark.parametrize("target", TARGETS, ids=[target["expr"] for target in TARGETS])
def test_a_legend_names_labels_that_the_answer_has(target: Any) -> None:
    """Grafana writes nothing for any other, and two lines of one panel could not be told apart."""
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= Query(target["expr"]).labels


def test_panels_can_be_told_apart_and_lie_beside_each_other() -> None:
    """Ids are Grafana's keys; two panels on one place would hide each other."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert all(panel["title"] for panel in panels)
    assert all({target["refId"] for target in panel["targets"]} for panel in PANELS)
