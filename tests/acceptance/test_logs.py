from __future__ import annotations

import json
from typing import Any

from tests.acceptance.stack import Stack, eventually
from tests.upstream import reply


def lines(stack: Stack, name: str, job_id: str) -> list[dict[str, Any]]:
    """What a process wrote of a job: each line is an object."""
    decoded = (json.loads(line) for line in stack.log(name).splitlines() if line.startswith("{"))
    return [line for line in decoded if line.get("job_id") == job_id]


def first(stack: Stack, name: str, job_id: str, event: str) -> dict[str, Any]:
    """The first line that a process wrote of an event of a job."""
    found = eventually(
        lambda: [line for line in lines(stack, name, job_id) if line["event"] == event], f"{name} wrote {event}"
    )
    return found[0]


def test_a_job_can_be_followed_through_the_logs_of_all_processes(stack: Stack) -> None:
    """By its id, and by that of the request which submitted it, whoever works on it."""
    # Too long for its row, so that a process of its own stores it.
    stack.upstream.next(reply("long " * 1000), reply("long " * 1000))
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "state_webhook_url": stack.receiver.url}
    asked = [stack.ask("POST", "/jobs", body, given) for given in ({"X-Request-Id": "mine-1"}, {})]
    assert asked[0].headers["x-request-id"] == "mine-1"
    for answer in asked:
        job_id, request_id = answer.json["job_id"], answer.headers["x-request-id"]
        stack.settled(job_id)
        for name, event in (
            ("web", "request"),
            ("jobs", "run ended"),
            ("artifacts", "job done"),
            ("webhooks", "webhook tried"),
        ):
            line = first(stack, name, job_id, event)
            assert (line["process"], line["request_id"]) == (name, request_id)
