"""A receiver that is away: nobody but its own events waits, and those come in order when it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.acceptance.stack import Stack, eventually, procfile
from tests.addresses import free_port
from tests.backlog import Turnstile, fill, out_of_order
from tests.hostile import HostilePeer, is_silent
from tests.receiver import Receiver

#: The processes that bring events to their receiver: nothing runs meanwhile.
SENDING = {name: command for name, command in procfile().items() if name in {"web", "webhooks", "clock"}}

#: Jobs whose four events each wait; ``make bench`` does it with 2,500.
JOBS = 500

CAP = 5


def test_a_backlog_drains_in_order_and_never_faster_than_the_cap(own_directory: Path) -> None:
    """Nobody listens, the circuit opens and uses up no attempts; then somebody does, and gets every event, in order."""
    port = free_port()
    env = {
        "FOREMAN_WEBHOOK_ORIGIN_CONCURRENCY": str(CAP),
        "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "1,2,4,8,16,60,300",
        "FOREMAN_WEBHOOK_CIRCUIT_OPEN_S": "0.5",
        "FOREMAN_WEBHOOK_CIRCUIT_OPEN_MAX_S": "1",
    }
    with Stack(own_directory, env, SENDING) as stack:
        ids = fill(stack.database_url, f"http://127.0.0.1:{port}/hook", JOBS)
        eventually(lambda: [each for each in origins(stack) if each["circuit"] == "open"], "the circuit opens")
        [shut] = origins(stack)
        assert (shut["pending"], shut["last_error"]) == (4 * JOBS, "refused")
        turnstile = Turnstile()
        with Receiver(turnstile, port=port) as receiver:
            received = receiver.wait_for(lambda got: len(got) >= 4 * JOBS, timeout_s=300)
            eventually(lambda: origins(stack) == [], "nothing is pending")
        assert {each.json["job_id"] for each in received} == set(ids)
        assert out_of_order(received) == []
        assert turnstile.most <= CAP
        tries = sum(event["attempts"] for each in ids[:50] for event in stack.job(each)["webhook"]["events"])
        assert tries <= 4 * 50 + 50


def test_a_receiver_that_never_answers_changes_no_job(own_directory: Path) -> None:
    """Every job is done, and its events still wait."""
    with HostilePeer(is_silent) as hole, Stack(own_directory, {"FOREMAN_WEBHOOK_TIMEOUT_S": "10"}) as stack:
        ids = [stack.submit(state_webhook_url=hole.url) for _ in range(40)]
        for job_id in ids:
            job = stack.until(job_id, "done", "failed", timeout_s=120)
            assert (job["state"], job["attempt"]) == ("done", 1)
            assert {event["status"] for event in job["webhook"]["events"]} == {"pending"}


def origins(stack: Stack) -> Any:
    """``GET /webhooks/origins``."""
    return stack.ask("GET", "/webhooks/origins").json["origins"]
