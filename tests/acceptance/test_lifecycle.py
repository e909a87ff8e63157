"""A job from submission to the last webhook, through the Procfile's processes."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.acceptance.stack import Stack, eventually
from tests.receiver import fail_first
from tests.upstream import Exchange, reply, say
from tests.upstream_faults import after, error_line, hang, held, reset, status

FORWARD = ["queued", "loading", "working", "done"]


def states(events: list[Any]) -> list[str]:
    """The states of events, in the order in which they came."""
    return [event["state"] for event in events]


def test_each_state_is_announced_once_and_in_order(stack: Stack) -> None:
    """A job's four events come in order, numbered, each with the one before and the history so far."""
    job_id = stack.submit(metadata={"order": 7})
    stack.settled(job_id)
    events = stack.events(job_id)
    assert states(events) == FORWARD
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert [event["previous_state"] for event in events] == [None, *FORWARD[:3]]
    assert [event["terminal"] for event in events] == [False, False, False, True]
    assert [event["id"] for event in events] == [f"{job_id}-{state}" for state in FORWARD]
    assert [event["type"] for event in events] == [f"job.{state}" for state in FORWARD]
    assert [len(event["history"]) for event in events] == [1, 2, 3, 4]
    assert all(event["metadata"] == {"order": 7} and event["model"] == "m" for event in events)
    assert all(event["error"] is None and event["attempt"] <= 1 for event in events)


def test_the_completion_is_in_the_done_event_and_in_get(stack: Stack) -> None:
    """The native response object, assembled from the stream, is the same in webhook, GET and artifact."""
    job_id = stack.submit()
    job = stack.settled(job_id)
    artifact = stack.ask("GET", f"/jobs/{job_id}/artifacts/completion")
    [listed] = stack.events(job_id)[-1]["artifacts"]
    assert job["result"]["message"] == {"role": "assistant", "content": "Hello, world!"}
    assert job["result"]["done"] is True
    assert listed["inline"] is True
    assert listed["data"] == job["result"] == artifact.json
    assert listed["sha256"] == hashlib.sha256(artifact.raw).hexdigest()
    assert listed["size_b"] == len(artifact.raw)
    assert listed["url"] == f"{stack.url}/jobs/{job_id}/artifacts/completion"
    assert "message" not in stack.events(job_id)[-1]["result"]


@pytest.mark.parametrize("above", [False, True])
def test_an_artifact_travels_inline_up_to_the_limit_and_by_url_above_it(stack: Stack, above: bool) -> None:  # noqa: FBT001 (a table's column)
    """On the limit the event has the bytes; one byte more, and it has the URL, under which the bytes are."""
    stack.upstream.default = reply("x")
    smallest = stack.settled(stack.submit())["artifacts"][0]["size_b"]
    stack.upstream.default = reply("x" * (2000 - smallest + 1 + above))
    job_id = stack.submit()
    job = stack.settled(job_id)
    [listed] = stack.events(job_id)[-1]["artifacts"]
    assert listed["size_b"] == 2000 + above
    assert listed["inline"] is not above
    assert ("data" in listed) is not above
    assert ("message" in job["result"]) is not above
    assert job["result"]["eval_count"] == 1
    artifact = stack.ask("GET", listed["url"].removeprefix(stack.url))
    assert artifact.status == 200
    assert hashlib.sha256(artifact.raw).hexdigest() == listed["sha256"]


def test_both_signatures_verify(stack: Stack) -> None:
    """Every delivery verifies by HMAC over the body, and by the reference library of Standard Webhooks."""
    job_id = stack.submit()
    stack.settled(job_id)
    secret = b"acceptance-secret"
    received = [each for each in stack.receiver.requests if each.json["job_id"] == job_id]
    assert len(received) == 4
    for request in received:
        headers = {name.lower(): value for name, value in request.headers.items()}
        expected = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
        assert headers["x-foreman-signature"] == f"sha256={expected}"
        assert Webhook(secret).verify(request.body, headers) == json.loads(request.body)
        assert headers["webhook-id"] == headers["idempotency-key"] == request.json["id"]


def test_a_receiver_that_fails_is_retried_and_the_job_does_not_care(stack: Stack) -> None:
    """500s delay the events, in order and with the same bytes; the job is done before the first is accepted."""
    gate = threading.Event()
    refuse = fail_first(3, 500)
    stack.receiver.answer = lambda request: refuse(request) if gate.is_set() else (503, {}, b"")
    job_id = stack.submit()
    assert stack.until(job_id, "done")["webhook"]["events"][0]["status"] == "pending"
    gate.set()
    job = stack.settled(job_id)
    assert [event["status"] for event in job["webhook"]["events"]] == ["delivered"] * 4
    received = [each for each in stack.receiver.requests if each.json["job_id"] == job_id]
    firsts = [each for each in received if each.json["state"] == "queued"]
    assert len(firsts) >= 4
    assert len({each.body for each in firsts}) == 1
    assert list(dict.fromkeys(states(stack.events(job_id)))) == FORWARD


def test_a_retried_run_announces_nothing_twice(stack: Stack) -> None:
    """The upstream fails in two ways before it succeeds: the attempt grows, no state is announced again."""
    stack.upstream.next(status(500), after(2, reset))
    job_id = stack.submit()
    job = stack.settled(job_id)
    assert job["state"] == "done"
    assert job["attempt"] == 3
    assert states(stack.events(job_id)) == FORWARD


def test_only_the_events_asked_for_are_sent(stack: Stack) -> None:
    """``state_webhook_events`` leaves the others out, and GET shows them as skipped."""
    job_id = stack.submit(state_webhook_events=["done", "failed"])
    job = stack.settled(job_id)
    assert states(stack.events(job_id)) == ["done"]
    assert [event["status"] for event in job["webhook"]["events"]] == ["skipped"] * 3 + ["delivered"]


@pytest.mark.parametrize(
    ("behaviour", "code", "retryable"),
    [
        (status(400, "no"), "upstream_rejected", False),
        (status(404, "model 'm' not found"), "model_not_found", False),
        (status(500, "boom"), "upstream_error", True),
        (error_line("boom"), "upstream_error", True),
        (after(1, lambda exchange: exchange.end()), "truncated", True),
    ],
    ids=["rejected", "model-not-found", "error", "error-line", "truncated"],
)
def test_each_upstream_fault_has_its_code(stack: Stack, behaviour: Any, code: str, retryable: bool) -> None:  # noqa: FBT001 (a table's column)
    """The last attempt's fault is the job's error, in GET and in the failed event; what text there was is listed."""
    stack.upstream.next(behaviour)
    job_id = stack.submit(max_attempts=1)
    job = stack.settled(job_id)
    assert job["state"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["retryable"] is retryable
    assert stack.events(job_id)[-1]["error"] == job["error"]
    assert job["result"] is None
    assert [artifact["name"] for artifact in job["artifacts"]] == (["partial"] if code == "truncated" else [])


@pytest.mark.parametrize(
    ("behaviour", "limit", "code", "partial"),
    [
        (after(100_000, hang, 0.02), {"exec_timeout_s": 3}, "exec_timeout", True),
        (after(2, hang), {"stall_timeout_s": 1}, "stalled", True),
        (hang, {"stall_timeout_s": 0.2}, "stalled", False),
    ],
    ids=["exec", "stall", "never a byte"],
)
def test_each_deadline_of_the_real_call_has_its_code(
    stack: Stack, behaviour: Any, limit: dict[str, float], code: str, *, partial: bool
) -> None:
    """A call that takes too long, one that falls silent and one that never speaks are told apart."""
    stack.upstream.next(behaviour)
    job = stack.settled(stack.submit(max_attempts=1, **limit))
    assert (job["state"], job["error"]["code"]) == ("failed", code)
    assert [artifact["name"] for artifact in job["artifacts"]] == (["partial"] if partial else [])


def test_a_model_that_does_not_load_in_time_fails_its_job(stack: Stack) -> None:
    """The code is ``load_timeout``, and ``working`` was never announced."""
    stack.upstream.next_load(hang)
    job_id = stack.submit(max_attempts=1, load_timeout_s=0.5)
    assert stack.settled(job_id)["error"]["code"] == "load_timeout"
    assert states(stack.events(job_id)) == ["queued", "loading", "failed"]


def test_a_job_that_cannot_start_in_time_fails_in_the_queue(stack: Stack) -> None:
    """The code is ``start_deadline``, the one before it runs on, and the upstream never hears of it."""
    gate = threading.Event()
    stack.upstream.next(held(gate))
    running = stack.submit()
    stack.until(running, "working")
    job_id = stack.submit(model="late", start_deadline_s=0.5)
    assert stack.settled(job_id)["error"]["code"] == "start_deadline"
    gate.set()
    assert stack.settled(running)["state"] == "done"
    assert states(stack.events(job_id)) == ["queued", "failed"]
    assert all(call.body.get("model") != "late" for call in stack.upstream.calls)


def test_a_prompt_that_takes_longer_than_the_stall_timeout_is_waited_for(stack: Stack) -> None:
    """Ollama sends nothing until it has read the prompt: no silence of an upstream that has stalled."""
    stack.upstream.next(reply("late", delay_s=3))
    assert stack.settled(stack.submit(max_attempts=1, stall_timeout_s=2))["state"] == "done"


def test_half_a_character_in_the_text_does_not_keep_a_job_from_ending(stack: Stack) -> None:
    """JSON can say half of a surrogate pair and UTF-8 cannot: the text is kept with a mark in its place."""

    def behave(exchange: Exchange) -> None:
        say(exchange, [{"content": "half \ud83d"}], 0.0)
        exchange.line({"error": "boom"})
        exchange.end()

    stack.upstream.next(behave)
    job_id = stack.submit(max_attempts=1)
    assert stack.settled(job_id)["error"]["code"] == "upstream_error"
    assert stack.ask("GET", f"/jobs/{job_id}/artifacts/partial").raw == b"half ?"


def test_foremans_keys_stay_here_and_all_others_go_upstream(stack: Stack) -> None:
    """The upstream gets the native payload, unknown keys included, and a preload with the same model and options."""
    job_id = stack.submit(options={"seed": 3}, keep_alive="7m", shape=[1.50, {"odd": None}], priority="batch", ttl_s=99)
    stack.settled(job_id)
    chat, load = stack.upstream.chats[-1].body, stack.upstream.loads[-1].body
    assert chat == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "options": {"seed": 3},
        "keep_alive": "7m",
        "shape": [1.5, {"odd": None}],
        "stream": True,
    }
    assert load == {"model": "m", "options": {"seed": 3}, "keep_alive": "7m", "messages": [], "stream": False}


def test_loading_lasts_until_the_model_is_in_memory(stack: Stack) -> None:
    """``working`` is announced only after the preload was answered."""
    gate = threading.Event()
    stack.upstream.next_load(held(gate))
    job_id = stack.submit()
    eventually(lambda: "loading" in states(stack.events(job_id)), "loading announced")
    assert stack.job(job_id)["state"] == "loading"
    gate.set()
    assert stack.settled(job_id)["state"] == "done"


def test_an_idempotency_key_makes_one_job(stack: Stack) -> None:
    """The same key and body give the same job, another body is refused, and racing requests make one."""
    body = {"model": "m", "messages": [{"role": "user", "content": "once"}]}
    headers = {"Idempotency-Key": "acceptance-1"}
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(stack.ask("POST", "/jobs", body, headers))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["job_id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == [""] + ["true"] * 7
    refused = stack.ask("POST", "/jobs", body | {"model": "other"}, headers)
    assert refused.status == 422
    assert refused.headers["content-type"].startswith("application/problem+json")


def test_waiting_submission_answers_with_the_finished_job(stack: Stack) -> None:
    """``Prefer: wait`` gives 200 and the result when the job ends in time, 202 when it does not."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    done = stack.ask("POST", "/jobs", body, {"Prefer": "wait=30"})
    assert (done.status, done.json["state"]) == (200, "done")
    gate = threading.Event()
    stack.upstream.next(held(gate, reply("late")))
    pending = stack.ask("POST", "/jobs", body, {"Prefer": "wait=1"})
    assert pending.status == 202
    gate.set()
    waited = stack.ask("GET", f"/jobs/{pending.json['job_id']}?wait=30")
    assert (waited.status, waited.json["state"]) == (200, "done")
