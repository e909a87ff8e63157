"""The Procfile's processes on what several machines share: PostgreSQL, Valkey and an object store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest

from tests.acceptance.stack import Stack, eventually
from tests.acceptance.test_lifecycle import FORWARD, states
from tests.acceptance.test_survival import unready
from tests.object_store import ObjectStore
from tests.postgres import PostgresServer
from tests.upstream import reply

#: Bytes of text that make an artifact too large for its row.
LARGE = "x" * 400_000

#: Connections to PostgreSQL that each process may have: far fewer than it has threads.
POOL = 4

#: The state of each connection to this database but the one that asks.
_CONNECTIONS = """
    SELECT state FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

#: How many submit at once, and how many jobs each of them.
CLIENTS = 12
EACH = 5


@dataclass(frozen=True)
class Shared:
    """A stack, and the object store that it uses."""

    stack: Stack
    objects: ObjectStore


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One for the module; the tests leave nothing behind in it."""
    directory = tmp_path_factory.mktemp("shared")
    with ExitStack() as exits:
        objects = exits.enter_context(ObjectStore(directory / "moto.log"))
        env = {
            "FOREMAN_DATABASE_URL": exits.enter_context(PostgresServer()).create("shared"),
            "FOREMAN_ARTIFACTS_URL": objects.url,
            "FOREMAN_DATABASE_POOL_SIZE": str(POOL),
            "FOREMAN_PRUNE_INTERVAL_S": "0.2",
            "FOREMAN_SWEEP_INTERVAL_S": "0.5",
            "FOREMAN_LOG_LEVEL": "debug",
        }
        stack = exits.enter_context(Stack(directory / "stack", env | objects.environ))
        stack.upstream.default = reply(LARGE)
        yield Shared(stack, objects)


def test_a_large_artifact_is_kept_in_the_bucket_and_fetched_by_its_url(shared: Shared) -> None:
    """The event has the URL and no bytes; they come whole or in part, and go with the job."""
    stack = shared.stack
    job_id = stack.submit()
    job = stack.settled(job_id)
    assert states(stack.events(job_id)) == FORWARD
    [listed] = stack.events(job_id)[-1]["artifacts"]
    assert (listed["inline"], "data" in listed, "message" in job["result"]) == (False, False, False)
    [key] = shared.objects.keys()
    assert key.startswith("kept/here/")
    assert job_id in key
    path = listed["url"].removeprefix(stack.url)
    whole = stack.ask("GET", path)
    assert (whole.status, len(whole.raw)) == (200, listed["size_b"])
    assert hashlib.sha256(whole.raw).hexdigest() == listed["sha256"]
    part = stack.ask("GET", path, headers={"Range": "bytes=262140-262150"})
    assert (part.status, part.raw) == (206, whole.raw[262140:262151])
    assert stack.ask("DELETE", f"/jobs/{job_id}").status == 204
    assert shared.objects.keys() == []


def test_pruning_takes_the_object_with_the_job(shared: Shared) -> None:
    """When the id is answered 410, nothing of the job is left in the bucket."""
    stack = shared.stack
    job_id = stack.submit(ttl_s=0)
    eventually(lambda: stack.ask("GET", f"/jobs/{job_id}").status == 410, "the job is pruned")
    [listed] = stack.events(job_id)[-1]["artifacts"]
    assert (states(stack.events(job_id)), listed["inline"]) == (FORWARD, False)
    assert shared.objects.keys() == []


def test_while_the_object_store_is_away_a_completion_waits_and_the_model_is_not_run_again(shared: Shared) -> None:
    """The job stays working with its slot free, small ones go on, and it is done soon after the store is back."""
    stack = shared.stack
    before = len(stack.upstream.chats)
    shared.objects.kill()
    job_id = stack.submit()
    eventually(lambda: stack.log("artifacts").count("artifact store unavailable") >= 2, "two tries to store it")
    assert stack.job(job_id)["state"] == "working"
    eventually(lambda: unready(stack) == ["artifacts"], "/readyz names what is away")
    stack.upstream.next(reply("small"))
    small = stack.settled(stack.submit())
    assert (small["state"], small["result"]["message"]["content"]) == ("done", "small")
    shared.objects.start()
    job = stack.settled(job_id)
    assert (job["state"], job["attempt"]) == ("done", 1)
    assert states(stack.events(job_id)) == FORWARD
    assert len(stack.upstream.chats) == before + 2
    assert stack.ask("DELETE", f"/jobs/{job_id}").status == 204
    assert shared.objects.keys() == []
    # At its most talkative and about an outage, no process has told who may use the store.
    logged = "".join(stack.log(name) for name in stack.commands)
    assert shared.objects.environ["AWS_ACCESS_KEY_ID"] not in logged
    assert shared.objects.environ["AWS_SECRET_ACCESS_KEY"] not in logged


def test_no_process_has_more_connections_than_its_pool_and_each_gives_them_back(shared: Shared) -> None:
    """Twelve clients, and threads by the dozen in each process, share four connections a process without a refusal."""
    stack = shared.stack
    most, over = [0], threading.Event()

    def look() -> None:
        with psycopg.connect(stack.database_url, autocommit=True) as watcher:
            while not over.wait(0.01):
                most.append(len(watcher.execute(_CONNECTIONS).fetchall()))

    watching = threading.Thread(target=look)
    watching.start()
    stack.upstream.next(*[reply("small")] * (CLIENTS * EACH))
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            jobs = list(clients.map(lambda _: stack.submit(), range(CLIENTS * EACH)))
        assert {stack.settled(job_id)["state"] for job_id in jobs} == {"done"}
    finally:
        over.set()
        watching.join()
    assert 0 < max(most) <= POOL * len(stack.commands)
    with psycopg.connect(stack.database_url, autocommit=True) as watcher:
        eventually(
            lambda: {state for (state,) in watcher.execute(_CONNECTIONS).fetchall()} <= {"idle"}, "all are given back"
        )
