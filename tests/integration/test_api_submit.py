"""``POST /jobs``: what is promised, what is refused, and that nothing is half done."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foreman.domain.job import Job, Moment
from foreman.domain.lifecycle import State
from foreman.errors import StoreUnavailable
from foreman.queue import messages
from foreman.store.jobs import Jobs
from foreman.store.line import Line
from foreman.store.room import Room
from tests.integration.api import BODY, Api, in_threads, running_api

HOOK = "https://example.com/hook"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def test_a_job_is_accepted_as_the_contract_says(api: Api) -> None:
    """202, where the job is, its place in line, and nothing else."""
    api.submit()
    answer = api.post(BODY)
    job_id = answer.json["job_id"]
    self_ = f"/jobs/{job_id}"
    assert answer.status_code == 202
    assert answer.headers["Location"] == self_
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "job_id": job_id,
        "state": "queued",
        "queue_position": 2,
        "links": {"self": self_, "events": f"{self_}/events", "cancel": f"{self_}/cancel"},
    }
    assert len(job_id) == 26


def test_the_workers_are_told_of_a_job_and_its_webhook(api: Api) -> None:
    """A permit for each job, and a wake-up of the senders only for one with a webhook."""
    first = api.submit()
    second = api.submit(state_webhook_url=HOOK)
    assert api.messenger.sent == [messages.run(first), messages.run(second), messages.deliver(second)]


def test_every_own_key_is_kept_and_none_is_forwarded(api: Api) -> None:
    """What foreman is told stays with foreman; the rest, known or not, goes upstream untouched."""
    own = {
        "state_webhook_url": HOOK,
        "state_webhook_events": ["done", "failed"],
        "metadata": {"order": 7, "who": "me"},
        "priority": "interactive",
        "ttl_s": 60,
        "start_deadline_s": 10,
        "load_timeout_s": 20,
        "exec_timeout_s": 30,
        "stall_timeout_s": 40,
        "max_attempts": 5,
    }
    job_id = api.submit(None, **own, options={"seed": 1}, unheard_of=[1, {"a": None}], stream=True)
    shown = api.job(job_id)
    assert (shown["metadata"], shown["priority"]) == ({"order": 7, "who": "me"}, "interactive")
    assert shown["webhook"]["url"] == HOOK
    assert [each["status"] for each in shown["webhook"]["events"]] == ["skipped"]
    claim = api.start()
    assert json.loads(claim.payload) == BODY | {"options": {"seed": 1}, "unheard_of": [1, {"a": None}]}
    limits = claim.job.limits
    assert (limits.ttl_s, limits.start_deadline_s, limits.load_timeout_s) == (60, 10, 20)
    assert (limits.exec_timeout_s, limits.stall_timeout_s, limits.max_attempts) == (30, 40, 5)


def test_the_same_key_and_body_are_the_same_job(api: Api) -> None:
    """A client that did not hear the answer may ask again, even with the keys of its body in another order."""
    key = {"Idempotency-Key": "order 66!"}
    first = api.post(BODY | {"metadata": {"a": 1, "b": 2}}, key)
    again = api.post({"metadata": {"b": 2, "a": 1}, **BODY}, key)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert api.rows()["JobRow"] == 1
    assert len(api.messenger.sent) == 1


def test_a_replay_tells_the_state_as_it_is(api: Api) -> None:
    """The job may have gone on since; it is no longer in line then."""
    key = {"Idempotency-Key": "k"}
    api.submit(headers=key)
    api.start(State.LOADING)
    again = api.post(BODY, key)
    assert (again.status_code, again.json["state"], again.json["queue_position"]) == (202, "loading", None)


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    """It is a mistake of the client's, and neither job may be taken for the other."""
    key = {"Idempotency-Key": "k"}
    api.submit(headers=key)
    answer = api.post(BODY | {"model": "other"}, key)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:foreman:problem:idempotency-conflict")
    assert api.rows()["JobRow"] == 1


def test_a_key_is_free_again_when_its_job_is_deleted(api: Api) -> None:
    """A key lives as long as its job."""
    key = {"Idempotency-Key": "k"}
    first = api.submit(headers=key)
    api.finish()
    api.client.simulate_delete(f"/jobs/{first}")
    assert api.submit(headers=key, model="other") != first


def test_racing_requests_with_one_key_make_one_job(api: Api) -> None:
    """All are answered 202 with one id, and exactly one of them is told that it made the job."""
    answers = in_threads(*[lambda: api.post(BODY, {"Idempotency-Key": "race"})] * 8)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json["job_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert api.rows()["JobRow"] == 1


def test_a_full_queue_says_when_to_come_back(api: Api) -> None:
    """503 with Retry-After, nothing accepted; a key whose job is in the queue is answered all the same."""
    api.rebuild(submitter=replace(api.parts.submitter, jobs=replace(api.parts.jobs, room=Room(2))))
    first = api.submit(headers={"Idempotency-Key": "k"})
    api.submit()
    answer = api.post(BODY)
    assert (answer.status_code, answer.json["type"]) == (503, "urn:foreman:problem:queue-full")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert api.post(BODY, {"Idempotency-Key": "k"}).json["job_id"] == first
    assert api.rows()["JobRow"] == 2


def test_a_database_that_is_away_is_a_503(api: Api) -> None:
    """The client may try again at once, and is told nothing of the database."""

    class Away(Jobs):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise StoreUnavailable("unable to open /secret/path/foreman.db")

    api.rebuild(submitter=replace(api.parts.submitter, jobs=Away(api.parts.jobs.outbox, Room(10))))
    answer = api.post(BODY)
    assert (answer.status_code, answer.json["type"]) == (503, "urn:foreman:problem:database-unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "secret" not in answer.text


def test_nothing_after_the_commit_takes_the_202_back(api: Api) -> None:
    """A database that goes away just after the commit costs the place in line, not the answer."""

    class Blind(Jobs):
        def state(self, job_id: str) -> State | None:
            raise StoreUnavailable

    class Lost(Line):
        def position(self, job: Job, now: Moment) -> int | None:
            raise StoreUnavailable

    line = api.parts.line
    api.rebuild(jobs=Blind(api.parts.jobs.outbox, Room(10)), line=Lost(line.upstreams, line.policy))
    answer = api.post(BODY, {"Prefer": "wait=0"})
    assert (answer.status_code, answer.json["queue_position"]) == (202, None)


#: A ``Prefer`` header, and the wait that is applied.
PREFERENCES = [
    ("wait=0", "wait=0"),
    ("WAIT = 0", "wait=0"),
    ('wait="0"', "wait=0"),
    ("respond-async, wait=0", "wait=0"),
    ("wait=0; x=y, wait=50", "wait=0"),
    ('x="a,wait=9", wait=0', "wait=0"),
    ("wait", None),
    ("wait=", None),
    ("wait=-1", None),
    ("wait=1.5", None),
    ("wait=soon", None),
    ("await=0", None),
    ('"wait=0', None),
    ("", None),
]


@pytest.mark.parametrize(("preference", "applied"), PREFERENCES)
def test_prefer_is_read_as_its_rfc_says(api: Api, preference: str, applied: str | None) -> None:
    """The first usable wait counts; what cannot be read is ignored, never an error."""
    answer = api.post(BODY, {"Prefer": preference})
    assert answer.status_code == 202
    assert answer.headers.get("Preference-Applied") == applied


def test_a_longer_wait_than_a_minute_is_a_minute(api: Api) -> None:
    """The header says what was applied."""
    key = {"Idempotency-Key": "k"}
    api.submit(headers=key)
    api.finish()
    answer = api.post(BODY, key | {"Prefer": "wait=99999999999999999999999"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=60")


def test_prefer_wait_answers_with_the_job_once_it_ends(api: Api) -> None:
    """200 with what GET shows, as soon as it is so and not when the time is up."""

    def work() -> None:
        _until_queued(api)
        api.finish("Hello yourself")

    answer, _ = in_threads(lambda: api.post(BODY, {"Prefer": "wait=10"}), work)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert answer.headers["Location"] == f"/jobs/{answer.json['job_id']}"
    assert answer.json == api.job(answer.json["job_id"])
    assert answer.json["result"]["message"]["content"] == "Hello yourself"


def test_prefer_wait_answers_with_a_job_that_failed(api: Api) -> None:
    """Failed is an end too."""

    def work() -> None:
        _until_queued(api)
        api.fail()

    answer, _ = in_threads(lambda: api.post(BODY, {"Prefer": "wait=10"}), work)
    assert (answer.status_code, answer.json["state"]) == (200, "failed")


def test_prefer_wait_answers_202_when_the_time_is_up(api: Api) -> None:
    """The job goes on."""
    answer = api.post(BODY, {"Prefer": "wait=1"})
    assert (answer.status_code, answer.json["state"]) == (202, "queued")


def _until_queued(api: Api) -> None:
    deadline = threading.Event()
    for _ in range(2000):
        if api.rows()["JobRow"]:
            return
        deadline.wait(0.005)
    raise AssertionError
