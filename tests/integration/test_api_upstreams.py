"""``GET /upstreams``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman import clock
from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause
from foreman.domain.moment import rfc3339
from foreman.domain.upstream import Slots, Survey
from foreman.store.claims import Claims
from foreman.store.upstreams import Upstreams
from tests.integration.api import Api, running_api

SLOTS = (Slots("one", 2, ("a*", "b")), Slots("two", 1))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API over two upstreams, of which one speaks OpenAI's API."""
    with running_api(tmp_path) as running:
        running.rebuild(upstreams=Upstreams(SLOTS), kinds={"one": "ollama", "two": "openai"})
        running.claims = Claims(running.claims.outbox, SLOTS, running.claims.policy, 30_000)
        yield running


def test_an_upstream_that_nobody_looked_at_is_unknown(api: Api) -> None:
    """It is listed all the same, with what the operator said of it."""
    answer = api.get("/upstreams")
    assert answer.status_code == 200
    assert answer.json == {
        "upstreams": [
            {
                "name": name,
                "kind": kind,
                "status": "unknown",
                "slots": slots,
                "slots_in_use": 0,
                "models": models,
                "models_available": None,
                "models_loaded": [],
                "failures": 0,
                "held_until": None,
                "checked_at": None,
                "error": None,
            }
            for name, kind, slots, models in (("one", "ollama", 2, ["a*", "b"]), ("two", "openai", 1, []))
        ]
    }


def test_what_was_found_and_what_is_in_use_is_told(api: Api) -> None:
    """The models, the slots, a hold and its end, and what is wrong, without an address."""
    api.submit(model="a1")
    api.start()
    now = clock.now()
    gone = JobFailure(Cause.UPSTREAM_UNREACHABLE, "The upstream refused the connection.")
    api.parts.upstreams.record({"one": Survey(("a1", "b"), ("a1",)), "two": gone}, now)
    one, two = api.get("/upstreams").json["upstreams"]
    assert (one["status"], one["slots_in_use"], one["models_available"], one["models_loaded"], one["error"]) == (
        "ok",
        1,
        ["a1", "b"],
        ["a1"],
        None,
    )
    assert one["checked_at"] == rfc3339(now)
    assert (two["status"], two["error"]) == ("down", gone.as_json())
    until = now + 60_000
    api.claims.hold("one", until, Cause.UPSTREAM_ERROR)
    one, _ = api.get("/upstreams").json["upstreams"]
    assert (one["status"], one["failures"], one["held_until"]) == ("held", 1, rfc3339(until))
    assert one["error"] == {"code": "upstream_error", "message": "It did not take the last job.", "retryable": True}


def test_no_other_method_is_known(api: Api) -> None:
    """It is there to be looked at."""
    assert api.client.simulate_post("/upstreams").status_code == 405
