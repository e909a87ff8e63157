from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreman import clock
from foreman.domain.delivery import Attempt, RetryIn, TryError
from foreman.domain.moment import parse_rfc3339
from tests.integration.api import Api, running_api

LATE = Attempt(None, TryError.TIMEOUT, None, "", 10_000)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API whose circuits open on the second failure in a row, for a minute."""
    with running_api(tmp_path) as running:
        yield running


def fail(api: Api, job_id: str) -> None:
    """Try the job's event, in vain."""
    sending = api.parts.events.claim(job_id, clock.now())
    assert sending is not None
    api.parts.events.record(sending, LATE, RetryIn(1.0), clock.now())
    api.parts.origins.failed(sending.origin, LATE, jitter=1.0, now=clock.now())


def circuits(api: Api) -> dict[str, float]:
    """The metric, by state."""
    families = {family.name: family for family in text_string_to_metric_families(api.get("/metrics").text)}
    return {each.labels["state"]: each.value for each in families["foreman_webhook_circuits"].samples}


def test_origins_show_what_waits_and_what_is_left_alone(api: Api) -> None:
    """A circuit that is open comes first, with its last failure and its next probe; healthy receivers follow."""
    assert api.get("/webhooks/origins").json == {"origins": []}
    assert circuits(api) == {"open": 0, "half_open": 0}
    for _ in range(3):
        api.submit(state_webhook_url="https://up.example.com/hook")
    for job_id in [api.submit(state_webhook_url="https://down.example.com/hook") for _ in range(2)]:
        fail(api, job_id)
    answer = api.get("/webhooks/origins")
    down, up = answer.json["origins"]
    probe = parse_rfc3339(down.pop("next_probe_at"))
    assert probe is not None
    assert 0 < probe - clock.now() <= 60_000
    assert down == {
        "origin": "https://down.example.com",
        "circuit": "open",
        "failures": 2,
        "in_flight": 0,
        "pending": 2,
        "last_status": None,
        "last_error": "timeout",
    }
    assert up == {
        "origin": "https://up.example.com",
        "circuit": "closed",
        "failures": 0,
        "in_flight": 0,
        "pending": 3,
        "next_probe_at": None,
        "last_status": None,
        "last_error": None,
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert circuits(api) == {"open": 1, "half_open": 0}


def test_a_job_shows_when_its_event_will_be_tried(api: Api) -> None:
    """Not before the circuit lets it through, and without an attempt used up."""
    ids = [api.submit(state_webhook_url="https://down.example.com/hook") for _ in range(3)]
    for job_id in ids[:2]:
        fail(api, job_id)
    [event] = api.job(ids[2])["webhook"]["events"]
    [origin] = api.get("/webhooks/origins").json["origins"]
    assert (event["attempts"], event["next_attempt_at"]) == (0, origin["next_probe_at"])
