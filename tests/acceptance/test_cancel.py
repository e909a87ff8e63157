"""Cancelling real runs: how soon they end, what becomes of the upstream's connection, and who wins a race."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.acceptance.stack import Answer, Stack, eventually
from tests.sse import Following
from tests.upstream import Received, reply
from tests.upstream_faults import after, hang, held, status

#: Seconds from the request to the end of a job that runs; contract section 2.
PROMISE_S = 2.0

#: Seconds that a machine with much else to do adds to it; it takes some 0.1 s by itself.
GRACE_S = 4.0


def cancel(stack: Stack, job_id: str) -> Answer:
    """Cancel, and hold the answer to the promise."""
    began = time.monotonic()
    answer = stack.ask("POST", f"/jobs/{job_id}/cancel")
    assert time.monotonic() - began < PROMISE_S + GRACE_S
    return answer


def assert_cancelled(stack: Stack, answer: Answer) -> Any:
    """The job has ended for this reason, and the slot is free: the next job runs."""
    assert (answer.status, answer.json["state"], answer.json["error"]["code"]) == (200, "failed", "cancelled"), answer
    stack.until(stack.submit(), "done")
    return answer.json


def wait_for_chat(stack: Stack, before: int) -> None:
    """One has come in after ``before`` others."""
    stack.upstream.wait_for(lambda: len(stack.upstream.chats) > before)


def assert_hung_up(call: Received) -> None:
    """The upstream has noticed, and stops generating."""
    assert call.ended.wait(60)
    assert call.hung_up


def test_a_queued_job_is_cancelled_at_once(stack: Stack) -> None:
    """It never reaches the upstream, and its webhook says why."""
    gate = threading.Event()
    stack.upstream.next(held(gate))
    running = stack.submit()
    stack.until(running, "working")
    job_id = stack.submit(model="other")
    answer = cancel(stack, job_id)
    gate.set()
    assert_cancelled(stack, answer)
    assert stack.settled(job_id)["timestamps"].keys() == {"queued", "failed"}
    assert [event["state"] for event in stack.events(job_id)] == ["queued", "failed"]
    assert all(call.body.get("model") != "other" for call in stack.upstream.calls)


def test_a_job_that_loads_is_cancelled(stack: Stack) -> None:
    """The preload is broken off."""
    before = len(stack.upstream.loads)
    stack.upstream.next_load(hang)
    job_id = stack.submit(model="large")
    stack.upstream.wait_for(lambda: len(stack.upstream.loads) > before)
    stack.until(job_id, "loading")
    assert_cancelled(stack, cancel(stack, job_id))
    assert_hung_up(stack.upstream.loads[before])


def test_the_promise_is_kept_to_the_second_where_the_machine_lets_it(stack: Stack) -> None:
    """Of several jobs whose upstream has sent nothing the quickest to end says how long foreman takes."""
    took_s = []
    for _ in range(3):
        before = len(stack.upstream.chats)
        stack.upstream.next(hang)
        job_id = stack.submit()
        stack.until(job_id, "working")
        wait_for_chat(stack, before)
        began = time.monotonic()
        assert cancel(stack, job_id).json["state"] == "failed"
        took_s.append(time.monotonic() - began)
    assert min(took_s) < PROMISE_S, took_s


def test_a_job_whose_upstream_has_sent_nothing_yet_is_cancelled(stack: Stack) -> None:
    """The socket is closed under the blocked read."""
    stack.upstream.next(hang)
    before = len(stack.upstream.chats)
    job_id = stack.submit()
    wait_for_chat(stack, before)
    stack.until(job_id, "working")
    job = assert_cancelled(stack, cancel(stack, job_id))
    assert_hung_up(stack.upstream.chats[before])
    assert job["artifacts"] == []


def test_the_text_that_there_was_is_kept(stack: Stack) -> None:
    """As the artifact ``partial``."""
    stack.upstream.next(after(3, hang))
    before = len(stack.upstream.chats)
    job_id = stack.submit()
    with Following(stack.port, job_id) as follower:
        eventually(lambda: len([each for each in follower.events if each.type == "text"]) == 3, "the text has come")
    assert_cancelled(stack, cancel(stack, job_id))
    assert_hung_up(stack.upstream.chats[before])
    partial = stack.ask("GET", f"/jobs/{job_id}/artifacts/partial")
    assert (partial.status, partial.raw, partial.headers["content-type"]) == (
        200,
        b"t0 t1 t2 ",
        "text/plain; charset=utf-8",
    )


def test_a_job_that_waits_for_its_next_run_is_cancelled_at_once(stack: Stack) -> None:
    """Nobody runs it, so nobody has to be asked."""
    stack.upstream.next(status(500))
    before = len(stack.upstream.chats)
    job_id = stack.submit()
    stack.upstream.wait_for(lambda: len(stack.upstream.chats) > before and stack.upstream.chats[before].ended.is_set())
    assert_cancelled(stack, cancel(stack, job_id))


def test_a_race_with_the_completion_has_one_winner(stack: Stack) -> None:
    """Thirty times: one terminal state, one terminal event, and the answer agrees with it."""
    stack.upstream.default = reply("a", "b", "c", delay_s=0.005)
    endings = []
    for number in range(30):
        job_id = stack.submit()
        time.sleep(0.002 * number)
        answer = stack.ask("POST", f"/jobs/{job_id}/cancel")
        job = stack.settled(job_id)
        events = [event for event in stack.events(job_id) if event["terminal"]]
        assert [event["state"] for event in events] == [job["state"]]
        assert answer.status == (200 if job["state"] == "failed" else 409), (answer, job)
        assert ("done" in job["timestamps"]) is not ("failed" in job["timestamps"])
        endings.append(job["state"])
    assert "failed" in endings


def test_cancelling_is_idempotent_under_load(stack: Stack) -> None:
    """Ten at once: each is told the same end."""
    stack.upstream.next(hang)
    job_id = stack.submit()
    stack.until(job_id, "working")
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(cancel(stack, job_id))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert len([event for event in stack.events(job_id) if event["terminal"]]) <= 1
    stack.settled(job_id)
    assert len([event for event in stack.events(job_id) if event["terminal"]]) == 1
