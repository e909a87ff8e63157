"""``/healthz``, ``/readyz``, ``/metrics``, and what every answer has in common."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreman.api import readiness
from foreman.clock import monotonic
from foreman.errors import StoreUnavailable
from foreman.store.gauges import Amounts, Gauges
from foreman.store.jobs import Filter, Jobs
from foreman.store.room import Room
from tests.integration.api import Api, running_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def test_a_healthy_process_says_so(api: Api) -> None:
    """Alive, nothing degraded, and every dependency ready by name."""
    health, ready = api.get("/healthz"), api.get("/readyz")
    assert (health.status_code, health.json) == (200, {"status": "ok", "degraded": False})
    assert (ready.status_code, ready.json) == (
        200,
        {
            "status": "ready",
            "checks": {"database": {"status": "ok", "detail": None}, "redis": {"status": "ok", "detail": None}},
        },
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_of_ollama_that_looks_for_its_server_finds_one(api: Api, method: str) -> None:
    """Ollama's command line sends ``HEAD /`` before each command, and gives up on anything else than 200."""
    answer = api.client.simulate_request(method, "/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert answer.text == ("Ollama is running" if method == "GET" else "")


def test_a_failed_dependency_is_named(api: Api) -> None:
    """The process lives, degraded and not ready, and says what is wrong with what."""
    api.wrong["redis"] = lambda: "does not answer"
    health, ready = api.get("/healthz"), api.get("/readyz")
    assert (health.status_code, health.json) == (200, {"status": "ok", "degraded": True})
    assert (ready.status_code, ready.json["status"]) == (503, "unready")
    assert ready.json["checks"] == {
        "database": {"status": "ok", "detail": None},
        "redis": {"status": "failed", "detail": "does not answer"},
    }


def test_a_check_that_breaks_is_a_failed_dependency(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The log says why; the answer does not."""

    def broken() -> str | None:
        raise RuntimeError("/secret/path")

    api.wrong["database"] = broken
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json["checks"]["database"]["status"]) == (503, "failed")
    assert "secret" not in answer.text
    assert "check broke" in caplog.text


def test_a_check_that_hangs_holds_nobody(api: Api) -> None:
    """``/healthz`` answers at once and ``/readyz`` after the check's time; one thread hangs, however many ask."""
    release = threading.Event()
    entered: list[int] = []

    def hanging() -> str | None:
        entered.append(1)
        release.wait(timeout=30)
        return None

    api.wrong["redis"] = hanging
    try:
        began = monotonic()
        assert api.get("/healthz").json == {"status": "ok", "degraded": False}
        assert monotonic() - began < readiness.CHECK_TIMEOUT_S / 2
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json["checks"]["redis"]["detail"]) == (503, "no answer within 2 s")
        assert answer.json["checks"]["database"]["status"] == "ok"
        assert api.get("/healthz").json == {"status": "ok", "degraded": True}
        assert len(entered) == 1
    finally:
        release.set()


def test_many_probes_are_one_check(api: Api) -> None:
    """What a check found is so for a while."""
    calls: list[int] = []

    def counting() -> str | None:
        calls.append(1)
        return None

    api.wrong["redis"] = counting
    for _ in range(20):
        assert api.get("/readyz").status_code == 200
        assert api.get("/healthz").status_code == 200
    assert len(calls) == 1


def test_metrics_count_jobs_by_state_and_events_that_wait(api: Api) -> None:
    """In Prometheus's text format, every state from the beginning."""
    api.submit()
    api.fail()
    api.submit(state_webhook_url="https://example.com/")
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    jobs = {sample.labels["state"]: sample.value for sample in families["foreman_jobs"].samples}
    assert jobs == {"queued": 1, "loading": 0, "working": 0, "done": 0, "failed": 1}
    assert [sample.value for sample in families["foreman_events_pending"].samples] == [1]
    assert families["foreman_build_info"].samples[0].labels["version"]


def test_metrics_without_a_database_are_a_failed_scrape(api: Api) -> None:
    """Prometheus alerts on that; zeros would look like an idle installation."""

    class Away(Gauges):
        def amounts(self, now: int) -> Amounts:
            raise StoreUnavailable

    api.rebuild(metrics=replace(api.parts.metrics, gauges=Away()))
    assert api.get("/metrics").status_code == 503


#: A request that no resource answers, and the status and problem it gets.
MISSES = [
    ("GET", "/nothing", 404, "no-such-route"),
    ("GET", "/jobs/x/y", 404, "no-such-route"),
    ("GET", "/jobs/../jobs", 404, "no-such-route"),
    ("GET", "/JOBS", 404, "no-such-route"),
    ("PUT", "/jobs", 405, "method-not-allowed"),
    ("DELETE", "/jobs", 405, "method-not-allowed"),
    ("POST", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 405, "method-not-allowed"),
    ("POST", "/healthz", 405, "method-not-allowed"),
    ("DELETE", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/completion", 405, "method-not-allowed"),
    ("TRACE", "/jobs", 405, "method-not-allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "name"), MISSES)
def test_a_miss_is_a_problem_too(api: Api, method: str, path: str, status: int, name: str) -> None:
    """404 and 405 in the form of all errors; 405 names what is allowed."""
    answer = api.client.simulate_request(method, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json["type"] == f"urn:foreman:problem:{name}"
    assert set(answer.json) == {"type", "title", "status", "detail"}
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/jobs", "/jobs/{id}", "/jobs/{id}/artifacts/completion", "/healthz"])
def test_a_slash_at_the_end_makes_no_difference(api: Api, path: str) -> None:
    """What people type works."""
    job_id = api.submit()
    api.finish()
    assert api.get(path.format(id=job_id) + "/").status_code == 200


def test_a_fault_of_foremans_is_logged_and_not_shown(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """500 as a problem, without a word of what went wrong; the log has the traceback."""

    class Faulty(Jobs):
        def page(self, wanted: Filter) -> list[Any]:
            raise ZeroDivisionError("secret")

    api.rebuild(jobs=Faulty(api.parts.jobs.outbox, Room(10)))
    answer = api.get("/jobs")
    assert (answer.status_code, answer.json["type"]) == (500, "urn:foreman:problem:internal")
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert "request failed" in caplog.text


def test_each_request_is_one_line_of_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """With its status and without its query; a path cannot forge a line of its own."""
    caplog.set_level(logging.INFO)
    api.get("/jobs?model=secret")
    api.get("/no%0aforged")
    lines: list[Any] = [record.msg for record in caplog.records if record.name == "foreman.api.access"]
    assert [(line["path"], line["status"]) for line in lines] == [("/jobs", 200), ("/no%0Aforged", 404)]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/jobs", "/nothing", "/jobs/x"])
def test_every_answer_says_the_id_of_its_request(api: Api, path: str) -> None:
    """The client's if it is sane, else one that is made; errors too, since those are what people ask about."""
    assert api.get(path, {"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    made = [api.get(path, headers).headers["X-Request-Id"] for headers in ({}, {"X-Request-Id": "not one"})]
    assert [len(each) for each in made] == [26, 26]
    assert len({*made}) == 2


def test_the_lines_of_a_request_hold_its_id_and_its_job(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Whether it made the job or names it; the next request knows nothing of either."""
    caplog.set_level(logging.INFO)
    job_id = api.submit({"X-Request-Id": "first"})
    api.get(f"/jobs/{job_id.lower()}", {"X-Request-Id": "second"})
    api.get("/jobs/no-job", {"X-Request-Id": "third"})
    lines: list[Any] = [record.msg for record in caplog.records if record.name == "foreman.api.access"]
    assert [(line["request_id"], line.get("job_id")) for line in lines] == [
        ("first", job_id),
        ("second", job_id),
        ("third", None),
    ]
