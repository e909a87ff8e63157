"""What is promised when something dies: nothing acknowledged is lost, and nothing is announced twice."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stack import Stack, eventually
from tests.acceptance.test_lifecycle import FORWARD, states
from tests.upstream import reply
from tests.upstream_faults import held


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that bring everything back themselves."""
    with Stack(tmp_path_factory.mktemp("survival") / "stack") as made:
        yield made


def unready(stack: Stack) -> list[str]:
    """The dependencies that ``/readyz`` reports, which it does with 503."""
    ready = stack.ask("GET", "/readyz")
    failed = [name for name, check in ready.json["checks"].items() if check["status"] != "ok"]
    assert (ready.status == 503) is bool(failed)
    return failed


def test_a_worker_killed_while_loading_costs_time_not_the_job(stack: Stack) -> None:
    """SIGKILL during the preload: the lease runs out, the job runs again, each state is announced once."""
    stack.upstream.next_load(held(threading.Event()))
    before = len(stack.upstream.loads)
    job_id = stack.submit(max_attempts=1)
    stack.until(job_id, "loading")
    eventually(lambda: len(stack.upstream.loads) > before, "the preload arrived")
    stack.kill("jobs")
    stack.start("jobs")
    job = stack.settled(job_id)
    assert (job["state"], job["attempt"]) == ("done", 2)
    assert states(stack.events(job_id)) == FORWARD


def test_a_worker_killed_while_working_costs_time_not_the_job(stack: Stack) -> None:
    """SIGKILL in the middle of the answer: as above, and the completion is whole."""
    stack.upstream.next(held(threading.Event()))
    before = len(stack.upstream.chats)
    job_id = stack.submit()
    stack.until(job_id, "working")
    eventually(lambda: len(stack.upstream.chats) > before, "the call arrived")
    stack.kill("jobs")
    stack.start("jobs")
    job = stack.settled(job_id)
    assert (job["state"], job["attempt"]) == ("done", 2)
    assert job["result"]["message"]["content"] == "Hello, world!"
    assert states(stack.events(job_id)) == FORWARD


def test_everything_killed_at_once_loses_nothing(stack: Stack) -> None:
    """All processes and Valkey die, Valkey comes back empty: every accepted job ends, every event arrives."""
    gate = threading.Event()
    stack.upstream.default = held(gate, reply("late"))
    job_ids = [stack.submit() for _ in range(5)]
    stack.until(job_ids[0], "working")
    for name in stack.commands:
        stack.kill(name)
    with stack.valkey.client() as client:
        client.flushall()
    stack.valkey.restart()
    stack.upstream.default = reply("after all")
    for name in stack.commands:
        stack.start(name)
    eventually(stack.answers, "the API answers again")
    for job_id in job_ids:
        assert stack.settled(job_id, 60)["state"] == "done"
        assert list(dict.fromkeys(states(stack.events(job_id)))) == FORWARD
    gate.set()


def test_a_stopping_worker_hands_its_job_back(own_directory: Path) -> None:
    """SIGTERM: the run ends after the grace, uses up no attempt, and another worker takes the job at once."""
    with Stack(own_directory, {"FOREMAN_WORKERS_SHUTDOWN_GRACE_S": "0.5", "FOREMAN_JOBS_LEASE_S": "60"}) as stack:
        stack.upstream.next(held(threading.Event()))
        job_id = stack.submit(max_attempts=1)
        stack.until(job_id, "working")
        assert stack.stop("jobs") == 0
        stack.start("jobs")
        job = stack.settled(job_id)
        assert (job["state"], job["attempt"]) == ("done", 1)
        assert states(stack.events(job_id)) == FORWARD


def test_without_redis_jobs_are_accepted_and_run_soon_after_it_returns(stack: Stack) -> None:
    """Submissions are answered 202 while Redis is away, /readyz names it, and they run within seconds of its return."""
    stack.settled(stack.submit())
    stack.valkey.kill()
    job_ids = [stack.submit() for _ in range(3)]
    eventually(lambda: unready(stack) == ["redis"], "/readyz names what is away")
    assert stack.ask("GET", "/healthz").status == 200
    stack.valkey.start()
    for job_id in job_ids:
        assert stack.settled(job_id, 20)["state"] == "done"
        assert states(stack.events(job_id)) == FORWARD


def test_without_an_upstream_jobs_wait_and_run_when_it_returns(own_directory: Path) -> None:
    """A refused connection leaves jobs queued, however often it is tried; /readyz names it."""
    with Stack(own_directory, {"FOREMAN_JOBS_RETRY_DELAY_MAX_S": "1"}) as stack:
        stack.upstream.stop()
        job_ids = [stack.submit() for _ in range(3)]
        eventually(lambda: unready(stack) == ["upstream"], "/readyz names what is away")
        eventually(lambda: stack.log("jobs").count("upstream_unreachable") >= 4, "four refusals")
        assert {stack.job(job_id)["state"] for job_id in job_ids} == {"queued"}
        stack.upstream.start()
        for job_id in job_ids:
            assert stack.settled(job_id)["state"] == "done"
            assert states(stack.events(job_id)) == FORWARD


def test_max_attempts_named_by_the_submitter_bounds_refused_connections_too(own_directory: Path) -> None:
    """Whoever says how often to try is told that it failed."""
    with Stack(own_directory) as stack:
        stack.upstream.stop()
        job = stack.settled(stack.submit(max_attempts=2))
        assert (job["state"], job["attempt"]) == ("failed", 2)
        assert job["error"]["code"] == "upstream_unreachable"


@pytest.mark.sqlite
def test_a_locked_database_is_an_honest_503(stack: Stack) -> None:
    """While somebody else holds the database, a submission is refused clearly and leaves nothing behind."""
    [path] = (stack.directory / "data").glob("*.db")
    before = stack.ask("GET", "/jobs?limit=200").json["jobs"]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    refused = stack.ask("POST", "/jobs", {"model": "m", "messages": []})
    assert refused.status == 503
    assert "retry-after" in refused.headers
    assert refused.json["status"] == 503
    assert str(path) not in refused.raw.decode()
    other.execute("ROLLBACK")
    other.close()
    job = stack.settled(stack.submit())
    assert job["state"] == "done"
    after = stack.ask("GET", "/jobs?limit=200").json["jobs"]
    assert [each["job_id"] for each in after] == [job["job_id"], *(each["job_id"] for each in before)]
