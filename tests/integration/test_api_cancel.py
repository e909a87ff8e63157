"""``POST /jobs/{id}/cancel``: which answer when. How quickly a real run ends is for the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from foreman import clock
from foreman.domain.job import Claim
from foreman.domain.lifecycle import State
from foreman.store.claims import ended_on_request
from tests.integration.api import Api, in_threads, running_api
from tests.queues import eventually


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def cancel(api: Api, job_id: str) -> testing.Result:
    """Ask for the end of a job."""
    return api.client.simulate_post(f"/jobs/{job_id}/cancel")


def end_on_request(api: Api, claim: Claim) -> None:
    """What a worker does once it sees that its job is not wanted any more."""
    eventually(lambda: api.claims.wanted(claim) is not None)
    cause = api.claims.wanted(claim)
    assert cause is not None
    api.claims.fail(claim, ended_on_request(cause), clock.now())


def test_a_queued_job_ends_at_once(api: Api) -> None:
    """200, the job as GET shows it, and the reason."""
    job_id = api.submit()
    answer = cancel(api, job_id)
    assert answer.status_code == 200
    assert answer.json == api.job(job_id)
    assert answer.json["state"] == "failed"
    assert answer.json["error"]["code"] == "cancelled"


def test_cancelling_again_changes_nothing(api: Api) -> None:
    """The same answer, byte for byte."""
    job_id = api.submit()
    assert cancel(api, job_id).content == cancel(api, job_id).content == cancel(api, job_id.lower()).content


@pytest.mark.parametrize("state", [State.LOADING, State.WORKING])
def test_a_running_job_is_answered_when_its_run_has_ended(api: Api, state: State) -> None:
    """The answer waits for whoever runs it, and then says that it is over."""
    job_id = api.submit()
    claim = api.start(state)
    answer, _ = in_threads(lambda: cancel(api, job_id), lambda: end_on_request(api, claim))
    assert (answer.status_code, answer.json["state"], answer.json["error"]["code"]) == (200, "failed", "cancelled")


def test_a_run_that_does_not_end_in_time_is_answered_with_what_is_so(api: Api) -> None:
    """202 after two seconds; the job is still as it was, and will end."""
    job_id = api.submit()
    claim = api.start()
    answer = cancel(api, job_id)
    assert (answer.status_code, answer.json["state"], answer.json["error"]) == (202, "working", None)
    end_on_request(api, claim)
    assert cancel(api, job_id).status_code == 200


@pytest.mark.parametrize("ending", ["done", "failed"])
def test_a_job_that_ended_otherwise_is_left_alone(api: Api, ending: str) -> None:
    """409, and nothing about it changes."""
    job_id = api.submit()
    if ending == "done":
        api.finish()
    else:
        api.fail()
    before = api.job(job_id)
    answer = cancel(api, job_id)
    assert (answer.status_code, answer.json["type"]) == (409, "urn:foreman:problem:job-ended")
    assert api.job(job_id) == before


def test_a_run_that_fails_by_itself_while_it_is_cancelled_has_ended_for_one_reason(api: Api) -> None:
    """Whatever the race brings, the answer agrees with the job."""
    job_id = api.submit()
    claim = api.start()

    def fail() -> None:
        eventually(lambda: api.claims.wanted(claim) is not None)
        api.fail_claim(claim)

    answer, _ = in_threads(lambda: cancel(api, job_id), fail)
    code = api.job(job_id)["error"]["code"]
    assert (answer.status_code, code) in {(200, "cancelled"), (409, "upstream_rejected")}


def test_what_is_not_there_cannot_be_cancelled(api: Api) -> None:
    """404 for an id that never was, 410 for one that was deleted."""
    job_id = api.submit()
    api.finish()
    api.client.simulate_delete(f"/jobs/{job_id}")
    answers: list[Any] = [cancel(api, each).json["type"] for each in ("nonsense", "0" * 26, job_id)]
    assert answers == [f"urn:foreman:problem:{name}" for name in ("job-not-found", "job-not-found", "job-gone")]
