"""Several upstreams behind the real processes: where jobs go while one comes and goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Stack, eventually
from tests.openai_server import FakeOpenAI
from tests.postgres import PostgresServer
from tests.upstream import Behaviour, Exchange, FakeOllama, reply


class Fleet:
    """A stack whose upstreams are two Ollamas, ``a`` and ``b`` with two slots each, and an OpenAI-compatible ``c``."""

    def __init__(self, exits: ExitStack, directory: Path, env: dict[str, str]) -> None:
        self.a = exits.enter_context(FakeOllama(models={"m", "only-a"}))
        self.b = exits.enter_context(FakeOllama(models={"m", "only-b"}))
        self.c = exits.enter_context(FakeOpenAI(models={"only-c"}))
        servers = [
            {"name": "a", "url": self.a.url, "slots": 2},
            {"name": "b", "url": self.b.url, "slots": 2, "models": ["m", "only-*"]},
            {"name": "c", "url": self.c.url, "kind": "openai", "models": ["only-c"]},
        ]
        several = {
            # Blank is not set: what the list names is all there is.
            "FOREMAN_UPSTREAM_URL": "",
            "FOREMAN_UPSTREAM_SERVERS": json.dumps(servers),
            "FOREMAN_UPSTREAM_PROBE_INTERVAL_S": "0.5",
        }
        self.stack = exits.enter_context(Stack(directory, env | several))

    def renewed(self) -> Fleet:
        """With all upstreams there, none asked for anything, none with a model in memory, and no job left."""
        for server in (self.a, self.b, self.c):
            server.stop()
            server.start()
        self.stack.cancel_all()
        for fake in (self.a, self.b):
            fake.default = reply("Hello", ", ", "world", "!")
            fake.loaded.clear()
            fake.calls.clear()
            fake.max_in_flight = 0
        self.c.calls.clear()
        eventually(lambda: set(self.status().values()) == {"ok"}, "all are found well")
        return self

    def upstreams(self) -> dict[str, Any]:
        """``GET /upstreams``, by name."""
        return {each["name"]: each for each in self.stack.ask("GET", "/upstreams").json["upstreams"]}

    def status(self) -> dict[str, str]:
        """The status of each."""
        return {name: each["status"] for name, each in self.upstreams().items()}

    def submit(self, model: str, **keys: Any) -> str:
        """A job without a webhook."""
        return self.stack.submit(model=model, state_webhook_url=None, **keys)

    def done(self, job_id: str) -> Any:
        """The job, which completes."""
        job = self.stack.until(job_id, "done", "failed")
        assert job["state"] == "done", job
        return job


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_env(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings for each database."""
    if request.param == "sqlite":
        yield {}
        return
    with PostgresServer() as server:
        yield {"FOREMAN_DATABASE_URL": server.create("upstreams")}


@pytest.fixture(scope="module")
def running(database_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three upstreams, on each database."""
    with ExitStack() as exits:
        yield Fleet(exits, tmp_path_factory.mktemp("upstreams") / "stack", database_env)


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """As it was started."""
    return running.renewed()


@pytest.fixture(scope="module")
def running_patiently(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three upstreams, each left alone for longer than any test waits once it has refused."""
    with ExitStack() as exits:
        env = {"FOREMAN_JOBS_RETRY_DELAY_S": "3600", "FOREMAN_JOBS_RETRY_DELAY_MAX_S": "3600"}
        yield Fleet(exits, tmp_path_factory.mktemp("patient") / "stack", env)


@pytest.fixture
def patient(running_patiently: Fleet) -> Fleet:
    """As it was started."""
    return running_patiently.renewed()


def held(gate: threading.Event, then: Behaviour) -> Behaviour:
    """``then``, once the gate is open."""

    def behave(exchange: Exchange) -> None:
        exchange.pause(60, until=gate)
        then(exchange)

    return behave


def test_jobs_go_to_the_upstreams_that_can_run_them(fleet: Fleet) -> None:
    """They fill the slots of all, no more; what only one has waits for that one; what none has is not found."""
    gate = threading.Event()
    for server in (fleet.a, fleet.b):
        server.default = held(gate, server.default)
    jobs = [fleet.submit("m") for _ in range(6)]
    fleet.a.wait_for(lambda: len(fleet.a.chats) == 2, 30)
    fleet.b.wait_for(lambda: len(fleet.b.chats) == 2, 30)
    assert {name: each["slots_in_use"] for name, each in fleet.upstreams().items()} == {"a": 2, "b": 2, "c": 0}
    other = fleet.submit("only-c")
    assert fleet.done(other)["result"]["message"]["content"] == "Hello, world!"
    gate.set()
    only = [fleet.submit("only-a"), fleet.submit("only-b"), fleet.submit("only-a")]
    for job_id in (*jobs, *only):
        fleet.done(job_id)
    assert (fleet.a.max_in_flight, fleet.b.max_in_flight) == (2, 2)
    assert [call.body["model"] for call in fleet.a.chats].count("only-a") == 2
    assert [call.body["model"] for call in fleet.b.chats].count("only-b") == 1
    assert len(fleet.c.chats) == 1
    missing = fleet.stack.until(fleet.submit("nobody-has-it"), "failed")
    assert missing["error"]["code"] == "model_not_found"
    answer = fleet.stack.ask("POST", "/api/chat", {"model": "x", "messages": [{"role": "user", "content": "Hi"}]})
    assert (answer.status, answer.json) == (404, {"error": "model 'x' not found"})


def test_the_jobs_of_an_upstream_that_dies_go_elsewhere(fleet: Fleet) -> None:
    """Those that it was running and those to come, and none is lost; once it is back it has jobs again."""
    gate = threading.Event()
    for server in (fleet.a, fleet.b):
        server.default = held(gate, server.default)
    jobs = [fleet.submit("m") for _ in range(4)]
    fleet.a.wait_for(lambda: len(fleet.a.chats) == 2, 30)
    fleet.b.wait_for(lambda: len(fleet.b.chats) == 2, 30)
    fleet.a.stop()
    gate.set()
    jobs += [fleet.submit("m") for _ in range(4)]
    assert sorted(fleet.done(job_id)["attempt"] for job_id in jobs) == [1, 1, 1, 1, 1, 1, 2, 2]
    eventually(lambda: fleet.status() == {"a": "down", "b": "ok", "c": "ok"}, "a is found down")
    refused = {
        "code": "upstream_unreachable",
        "message": "The upstream refused the connection.",
        "retryable": True,
    }
    eventually(lambda: fleet.upstreams()["a"]["error"] == refused, "it is found to refuse, not only to break off")
    assert fleet.stack.ask("GET", "/readyz").json["checks"]["upstream"] == {"status": "ok", "detail": None}
    before = len(fleet.a.chats)
    fleet.a.start()
    eventually(lambda: fleet.status()["a"] == "ok", "a is found well")
    fleet.done(fleet.submit("only-a"))
    assert len(fleet.a.chats) == before + 1


def test_an_upstream_that_is_back_has_its_jobs_at_once(patient: Fleet) -> None:
    """What only it can run waits for it, and not for the end of the hour for which it would have been left alone."""
    patient.a.stop()
    eventually(lambda: patient.status()["a"] == "down", "a is found down")
    job_id = patient.submit("only-a")
    eventually(lambda: patient.upstreams()["a"]["failures"] == 1, "a has refused the job")
    assert patient.stack.job(job_id)["state"] == "queued"
    patient.done(patient.submit("m"))
    patient.a.start()
    patient.done(job_id)
    assert patient.status()["a"] == "ok"


def names(fleet: Fleet, path: str, key: str = "models", name: str = "name") -> list[str]:
    """What a list of models names, in order."""
    return [each[name] for each in fleet.stack.ask("GET", path).json[key]]


def test_what_is_no_job_is_answered_by_all_upstreams_as_if_they_were_one(patient: Fleet) -> None:
    """Lists are put together, and a request about a model goes where it is, also while one is away."""
    ask = patient.stack.ask
    assert names(patient, "/api/tags") == ["m", "only-a", "only-b", "only-c"]
    assert names(patient, "/v1/models", "data", "id") == ["m", "only-a", "only-b", "only-c"]
    assert ask("GET", "/v1/models/only-c").json["id"] == "only-c"
    assert ask("GET", "/api/version").json == {"version": "0.12.6"}
    for model in ("only-a", "only-b", "only-a"):
        patient.done(patient.submit(model))
    assert names(patient, "/api/ps") == ["only-a", "only-b"]
    assert ask("POST", "/api/show", {"model": "only-b"}).json["details"] == {"family": "fake"}
    assert ask("POST", "/api/generate", {"model": "only-b", "prompt": "Hi"}).status == 200
    assert [call.path for call in patient.b.calls if call.body.get("model") == "only-b"][-2:] == [
        "/api/show",
        "/api/generate",
    ]
    assert not [call for call in patient.a.calls if call.path in {"/api/show", "/api/generate"}]
    # Nobody lists it, and two may be asked: one of them answers.
    assert ask("POST", "/api/show", {"model": "unheard-of"}).status == 200
    patient.a.stop()
    assert names(patient, "/api/tags") == ["m", "only-b", "only-c"]
    assert ask("GET", "/api/version").status == 200
    assert ask("POST", "/api/show", {"model": "m"}).status == 200
    refused = ask("POST", "/api/show", {"model": "only-a"})
    assert (refused.status, refused.json) == (502, {"error": "The upstream refused the connection."})


def test_readiness_fails_when_no_upstream_answers(patient: Fleet) -> None:
    """And says of how many; jobs are accepted all the same."""
    for server in (patient.a, patient.b, patient.c):
        server.stop()
    eventually(lambda: patient.stack.ask("GET", "/readyz").status == 503, "foreman is not ready")
    detail = patient.stack.ask("GET", "/readyz").json["checks"]["upstream"]["detail"]
    assert detail == "none of the 3 answers; jobs are accepted, and wait for one"
    assert patient.submit("m")
