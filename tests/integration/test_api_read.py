"""``GET`` and ``DELETE /jobs/{id}``: what a client that heard nothing can find out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from foreman.clock import monotonic
from foreman.domain.lifecycle import State
from foreman.errors import StoreUnavailable
from foreman.store.jobs import Jobs
from foreman.store.objects import Objects
from foreman.store.room import Room
from tests.integration.api import BODY, INLINE_LIMIT_B, PUBLIC_URL, Api, in_threads, running_api

HOOK = "https://example.com/hook?token=t"
NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def test_a_queued_job_has_every_key_of_the_contract(api: Api) -> None:
    """Keys whose value is not known yet are there, as null or empty."""
    job_id = api.submit(metadata={"a": [1]}, priority="batch")
    shown = api.job(job_id)
    created_at = shown["created_at"]
    assert shown == {
        "job_id": job_id,
        "state": "queued",
        "model": "tiny",
        "priority": "batch",
        "metadata": {"a": [1]},
        "attempt": 0,
        "created_at": created_at,
        "expires_at": None,
        "timestamps": {"queued": created_at},
        "queue_position": 1,
        "eta_s": None,
        "result": None,
        "error": None,
        "artifacts": [],
        "webhook": None,
    }
    assert created_at.endswith("Z")
    assert len(created_at) == len("2026-11-24T03:39:53.123Z")


def test_only_states_that_were_reached_have_a_timestamp(api: Api) -> None:
    """In their order, and a job that runs is in no line."""
    job_id = api.submit()
    api.start(State.LOADING)
    shown = api.job(job_id)
    assert list(shown["timestamps"]) == ["queued", "loading"]
    assert (shown["state"], shown["attempt"], shown["queue_position"], shown["result"]) == ("loading", 1, None, None)


def test_a_done_job_has_the_native_response_for_its_result(api: Api) -> None:
    """Message and stats, and the artifact that holds the same bytes."""
    job_id = api.submit()
    body = api.finish("Hi")
    shown = api.job(job_id)
    assert shown["state"] == "done"
    assert list(shown["timestamps"]) == ["queued", "loading", "working", "done"]
    assert shown["result"] == json.loads(body)
    assert shown["error"] is None
    [artifact] = shown["artifacts"]
    assert artifact["url"] == f"{PUBLIC_URL}/jobs/{job_id}/artifacts/completion"
    assert (artifact["name"], artifact["content_type"]) == ("completion", "application/json")
    assert (artifact["size_b"], len(artifact["sha256"])) == (len(body), 64)
    assert artifact["expires_at"] == shown["expires_at"] is not None


def test_a_large_completion_leaves_its_message_to_the_artifact(api: Api) -> None:
    """Over the inline limit ``result`` is the stats alone."""
    job_id = api.submit()
    body = json.loads(api.finish("x" * INLINE_LIMIT_B))
    result = api.job(job_id)["result"]
    assert "message" not in result
    assert result == {key: value for key, value in body.items() if key != "message"}


def test_an_object_within_a_raised_limit_is_part_of_the_job(api: Api) -> None:
    """Where the bytes are kept does not show."""
    job_id = api.submit()
    body = api.finish("x" * INLINE_LIMIT_B)
    api.rebuild(inline_limit_b=2 * INLINE_LIMIT_B)
    assert api.job(job_id)["result"] == json.loads(body)


def test_a_job_is_shown_without_its_message_while_the_artifact_store_is_away(api: Api, tmp_path: Path) -> None:
    """Its state is worth more than no answer."""
    job_id = api.submit()
    api.finish("x" * INLINE_LIMIT_B)
    api.rebuild(inline_limit_b=2 * INLINE_LIMIT_B, objects=Objects(f"file://{tmp_path}/elsewhere"))
    shown = api.job(job_id)
    assert (shown["state"], shown["result"]["eval_count"]) == ("done", 2)
    assert "message" not in shown["result"]


def test_a_failed_job_says_why(api: Api) -> None:
    """``error.code``, and whether trying again makes sense; the upstream's status where it gave one."""
    api.submit()
    shown = api.job(api.fail())
    assert (shown["state"], shown["result"], shown["artifacts"]) == ("failed", None, [])
    assert shown["error"] == {
        "code": "upstream_rejected",
        "message": "The upstream said no.",
        "upstream_status": 400,
        "retryable": False,
    }
    assert list(shown["timestamps"]) == ["queued", "loading", "working", "failed"]


def test_a_job_shows_what_became_of_its_events(api: Api) -> None:
    """One entry for each state reached, the first pending one with its next try."""
    job_id = api.submit(state_webhook_url=HOOK)
    api.start(State.LOADING)
    webhook = api.job(job_id)["webhook"]
    assert webhook["url"] == HOOK
    queued, loading = webhook["events"]
    assert queued == {
        "state": "queued",
        "sequence": 1,
        "status": "pending",
        "attempts": 0,
        "last_status": None,
        "last_error": None,
        "next_attempt_at": api.job(job_id)["created_at"],
        "delivered_at": None,
    }
    assert (loading["state"], loading["sequence"], loading["next_attempt_at"]) == ("loading", 2, None)


def test_the_letters_of_an_id_may_be_of_either_case(api: Api) -> None:
    """ULIDs do not tell them apart."""
    job_id = api.submit()
    assert api.job(job_id.lower())["job_id"] == job_id


@pytest.mark.parametrize(
    "job_id", [NOBODY, "x", "1", "8" * 26, "I" * 26, "0" * 25, "0" * 27, "%00" * 26, "%C3%A9" * 26, "ı" * 26, "*"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_id_is_not_found(api: Api, method: str, job_id: str) -> None:
    """404, whether it could be an id or not."""
    answer = api.client.simulate_request(method, f"/jobs/{quote(job_id, safe='%')}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_answer_that_the_client_has_is_not_sent_again(api: Api) -> None:
    """304 without a body while nothing has changed, 200 with another tag afterwards."""
    job_id = api.submit()
    tag = api.get(f"/jobs/{job_id}").headers["ETag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = api.get(f"/jobs/{job_id}", {"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    for given in ('"other"', tag.strip('"'), "", ","):
        assert api.get(f"/jobs/{job_id}", {"If-None-Match": given}).status_code == 200
    api.start(State.LOADING)
    answer = api.get(f"/jobs/{job_id}", {"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != tag


def test_a_head_is_a_get_without_a_body(api: Api) -> None:
    """The same status and headers, but for the id that each request has."""
    job_id = api.submit()
    head, get = (
        each(f"/jobs/{job_id}", headers={"X-Request-Id": "one"}) for each in (api.client.simulate_head, api.get)
    )
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(get.headers))


def test_a_wait_ends_with_the_job(api: Api) -> None:
    """The answer comes when there is one, long before the time is up."""
    job_id = api.submit()
    started = monotonic()
    answer, _ = in_threads(lambda: api.get(f"/jobs/{job_id}?wait=10"), api.finish)
    assert (answer.status_code, answer.json["state"]) == (200, "done")
    assert monotonic() - started < 5


def test_a_wait_that_is_over_answers_with_what_is_so(api: Api) -> None:
    """200, as without it; any number of seconds will do."""
    job_id = api.submit()
    for wait in ("0", "0.2", "00.1", "1e-1"):
        answer = api.get(f"/jobs/{job_id}?wait={wait}")
        assert (answer.status_code, answer.json["state"]) == (200, "queued")


@pytest.mark.parametrize("wait", ["", "x", "-1", "1e", "nan", "inf", "0x1", "1,5", "1&wait=2", "%C2%B2", "%00", " 1"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(api: Api, wait: str) -> None:
    """400, and the problem names it."""
    answer = api.get(f"/jobs/{api.submit()}?wait={wait}")
    assert (answer.status_code, answer.json["type"]) == (400, "urn:foreman:problem:bad-parameter")
    assert "wait" in answer.json["detail"]


def test_waiting_for_a_job_that_is_not_there_is_no_waiting(api: Api) -> None:
    """404 and 410 come at once."""
    started = monotonic()
    gone = _gone(api)
    assert api.get(f"/jobs/{NOBODY}?wait=10").status_code == 404
    assert api.get(f"/jobs/{gone}?wait=10").status_code == 410
    assert monotonic() - started < 5


def test_a_wait_outlives_a_blip_of_the_database(api: Api) -> None:
    """The database coming back in time is as if it had never been away."""

    class Blinking(Jobs):
        def state(self, job_id: str) -> State | None:
            looks.append(job_id)
            if len(looks) < 4:
                raise StoreUnavailable
            return super().state(job_id)

    looks: list[str] = []
    job_id = api.submit()
    api.finish()
    api.rebuild(jobs=Blinking(api.parts.jobs.outbox, Room(10)))
    assert api.get(f"/jobs/{job_id}?wait=10").json["state"] == "done"
    assert len(looks) == 4


def test_no_more_than_the_allowed_requests_wait_at_once(api: Api) -> None:
    """Whoever comes then is answered at once, so that threads are left for submissions; places are given back."""
    job_id = api.submit()
    waiting = threading.Barrier(3)

    class Watched(Jobs):
        seen = threading.local()

        def state(self, job_id: str) -> State | None:
            if not hasattr(self.seen, "once"):
                self.seen.once = True
                waiting.wait(timeout=20)
            return super().state(job_id)

    api.rebuild(jobs=Watched(api.parts.jobs.outbox, Room(10)))

    def third() -> tuple[Any, Any]:
        Watched.seen.once = True
        waiting.wait(timeout=20)
        began = monotonic()
        read = api.get(f"/jobs/{job_id}?wait=10")
        sent = api.post(BODY, {"Prefer": "wait=10"})
        took_s = monotonic() - began
        assert took_s < 5
        api.finish()
        return read, sent

    Watched.seen.once = True
    first, second, (read, sent) = in_threads(*[lambda: api.get(f"/jobs/{job_id}?wait=10")] * 2, third)
    assert (read.status_code, read.json["state"]) == (200, "queued")
    assert sent.status_code == 202
    assert "Preference-Applied" not in sent.headers
    assert (first.json["state"], second.json["state"]) == ("done", "done")
    assert api.get(f"/jobs/{job_id}?wait=10").json["state"] == "done"


def test_a_stopping_process_answers_whoever_waits(api: Api) -> None:
    """A shutdown does not have to wait for the longest wait."""
    job_id = api.submit()
    api.parts.stopping.set()
    started = monotonic()
    assert api.get(f"/jobs/{job_id}?wait=10").json["state"] == "queued"
    assert monotonic() - started < 5


def test_a_deleted_job_is_gone_with_all_it_had(api: Api) -> None:
    """204, and 410 from then on; no row but the tombstone is left, and no bytes."""
    job_id = api.submit(metadata={"a": 1}, state_webhook_url=HOOK)
    api.finish("x" * INLINE_LIMIT_B)
    answer = api.client.simulate_delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/artifacts/completion"):
        gone = api.get(path)
        assert (gone.status_code, gone.json["type"]) == (410, "urn:foreman:problem:job-gone")
    assert api.client.simulate_delete(f"/jobs/{job_id}").status_code == 410
    assert {name: count for name, count in api.rows().items() if count} == {"TombstoneRow": 1, "UpstreamRow": 1}
    assert api.get("/jobs").json["jobs"] == []


@pytest.mark.parametrize("state", [State.QUEUED, State.LOADING, State.WORKING])
def test_a_live_job_is_not_deleted(api: Api, state: State) -> None:
    """409, and it lives on."""
    job_id = api.submit()
    if state is not State.QUEUED:
        api.start(state)
    answer = api.client.simulate_delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:foreman:problem:job-not-ended")
    assert api.job(job_id)["state"] == state


def _gone(api: Api) -> str:
    job_id = api.submit()
    api.finish()
    api.client.simulate_delete(f"/jobs/{job_id}")
    return job_id
