"""What is told of a job's end, against what then happens: real processes, and an upstream whose durations are known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Stack, eventually
from tests.upstream import reply

#: Seconds that a load and a run take; far more than foreman adds to them, even on a loaded machine.
LOAD_S, RUN_S = 1.5, 1.5

#: What happens may take so many times what was told, or so many times less, and this many seconds more: the contract
#: promises no precision, and a machine with two cores and much to do is slow, but it is not slow by this much.
FACTOR, GRACE_S = 2.0, 3.0


@pytest.fixture
def one_slot(tmp_path: Path) -> Iterator[Stack]:
    """Everything, with one slot and nothing measured yet."""
    with Stack(tmp_path, {"FOREMAN_UPSTREAM_SLOTS": "1"}) as running:
        running.upstream.load_delay_s = LOAD_S
        running.upstream.default = reply("a", "b", delay_s=RUN_S / 2)
        yield running


def measure(stack: Stack, *models: str) -> None:
    """Run a job for each of ``models``, one after the other."""
    for model in models:
        assert stack.settled(stack.submit(model=model))["state"] == "done"


def told(stack: Stack, job_id: str) -> tuple[Any, Any]:
    """The place in line, and the seconds until it is done."""
    job = stack.job(job_id)
    return job["queue_position"], job["eta_s"]


def moment(text: str) -> float:
    """A time of the API's as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def test_what_is_told_of_queued_jobs_is_about_what_happens(one_slot: Stack) -> None:
    """Nothing before a run was measured, and a load alone is none; after it, the time of each of five jobs."""
    loaded = one_slot.ask("POST", "/api/chat", {"model": "x", "messages": [], "stream": False})
    assert (loaded.status, loaded.json["done_reason"]) == (200, "load")
    first = one_slot.submit(model="x")
    assert told(one_slot, first)[1] is None
    assert one_slot.settled(first)["state"] == "done"
    measure(one_slot, "y", "x")
    line = [one_slot.submit(model=model) for model in ("x", "x", "y", "x", "y")]
    expected = {job_id: (time.time(), told(one_slot, job_id)[1]) for job_id in line}
    done = {job_id: moment(one_slot.settled(job_id)["timestamps"]["done"]) for job_id in line}
    # The first ones may be done before they are asked for.
    assert all(expected[job_id][1] is not None for job_id in line[2:])
    for job_id, (at, eta_s) in expected.items():
        if eta_s is None:
            continue
        took_s = done[job_id] - at
        assert eta_s / FACTOR <= took_s <= eta_s * FACTOR + GRACE_S, (expected, done)
    assert told(one_slot, line[0]) == (None, None)


def test_the_time_left_of_a_running_job_becomes_less(one_slot: Stack) -> None:
    """It is counted from the moment at which the job came to ``working``."""
    one_slot.upstream.default = reply("a", "b", delay_s=2.0)
    measure(one_slot, "x")
    job_id = one_slot.submit(model="x")
    one_slot.until(job_id, "working")
    seen: list[float] = []

    def note() -> bool:
        job = one_slot.job(job_id)
        if job["eta_s"] is not None:
            seen.append(job["eta_s"])
        return bool(job["state"] == "done")

    eventually(note, "done")
    assert len(set(seen)) > 1
    assert seen == sorted(seen, reverse=True)
    assert all(0 <= each <= 2 * 4.0 for each in seen)
