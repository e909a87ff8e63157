"""The whole of foreman as the Procfile runs it: its very commands, on real servers, with peers the test scripts."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.addresses import LOOPBACK, free_port
from tests.artifacts import ARTIFACTS
from tests.databases import SESSION, SQLITE
from tests.receiver import Receiver
from tests.upstream import FakeOllama
from tests.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]

#: Seconds in which anything expected must have happened; a loaded machine with two cores takes a tenth of it.
PATIENCE_S = 60.0

T = TypeVar("T")


def procfile() -> dict[str, list[str]]:
    """Process name → command, as the Procfile has them."""
    lines = (line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines() if line and line[0] != "#")
    return {name: shlex.split(command) for name, _, command in lines}


def with_jobs_processes(count: int) -> dict[str, list[str]]:
    """As ``procfile``, with several processes that run jobs in place of the one: ``jobs1``, ``jobs2`` and so on."""
    commands = procfile()
    command = commands.pop("jobs")
    return commands | {f"jobs{number}": command for number in range(1, count + 1)}


def eventually(look: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """The first true thing that ``look`` returns.

    The longer that takes, the rarer it looks: what is looked at has the same two processors to come about.
    """
    began = time.monotonic()
    while not (found := look()):
        waited_s = time.monotonic() - began
        assert waited_s < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(min(max(0.01, waited_s / 10), 0.2))
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body parsed."""
        return json.loads(self.raw)


@dataclass
class Stack:
    """Starts on entry and stops on exit; ``env`` adds settings. The peers are there before foreman is."""

    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=procfile)
    #: Where Valkey, the peers and the API listen.
    stores_on: str = LOOPBACK
    peers_on: str = LOOPBACK
    web_on: str = LOOPBACK

    def __post_init__(self) -> None:
        self.upstream = FakeOllama(address=self.peers_on)
        self.receiver = Receiver(address=self.peers_on)
        self.valkey = ValkeyServer(self.directory / "valkey", append_only=True, address=self.stores_on)
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://{self.web_on}:{self.port}"

    @property
    def database_url(self) -> str:
        """Where the jobs are."""
        return self.env.get("FOREMAN_DATABASE_URL") or f"sqlite:///{self.directory}/data/foreman.db"

    def environ(self) -> dict[str, str]:
        """What the processes are started with."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.directory),
            "FOREMAN_WEB_BIND": f"{self.web_on}:{self.port}",
            "FOREMAN_DATA_DIR": str(self.directory / "data"),
            "FOREMAN_REDIS_URL": self.valkey.url,
            "FOREMAN_UPSTREAM_URL": self.upstream.url,
            "FOREMAN_WEBHOOK_ALLOW_HTTP": "true",
            "FOREMAN_WEBHOOK_ALLOWED_NETS": "127.0.0.0/8",
            "FOREMAN_WEBHOOK_SECRET": "acceptance-secret",
            "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "0.2,0.2,0.2,0.2,0.2,0.2",
            "FOREMAN_WEBHOOK_TIMEOUT_S": "5",
            "FOREMAN_JOBS_RETRY_DELAY_S": "0.2",
            # A machine that stands still for half of it cuts a run.
            "FOREMAN_JOBS_LEASE_S": "8",
            **self.env,
        }

    def start(self, name: str) -> None:
        """Start one process of the Procfile."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name],
                cwd=self.directory,
                # libpq's own setting, for a test that has to know whose connection is whose.
                env=self.environ() | {"PGAPPNAME": name},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """SIGKILL the process and whatever it started, and wait."""
        process = self.processes[name]
        if process.poll() is None:  # or its number may be another's by now
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit status."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(PATIENCE_S)

    def log(self, name: str) -> str:
        """What a process wrote so far."""
        return (self.directory / f"{name}.log").read_text()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout_s: float = 70
    ) -> Answer:
        """One request; ``body`` is sent as JSON, or as it is if it is bytes."""
        connection = http.client.HTTPConnection(self.web_on, self.port, timeout=timeout_s)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        wanted = ({"Content-Type": "application/json"} if sent is not None else {}) | (headers or {})
        try:
            connection.request(method, path, sent, wanted)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def submit(self, **keys: Any) -> str:
        """Submit a job with the receiver as its webhook, and return its id; ``keys`` are added to the body."""
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "state_webhook_url": self.receiver.url}
        answer = self.ask("POST", "/jobs", body | keys)
        assert answer.status == 202, answer
        return str(answer.json["job_id"])

    def job(self, job_id: str) -> Any:
        """The job as ``GET`` shows it."""
        answer = self.ask("GET", f"/jobs/{job_id}")
        assert answer.status == 200, answer
        return answer.json

    def until(self, job_id: str, *states: str, timeout_s: float = PATIENCE_S) -> Any:
        """The job once it is in one of ``states``."""
        return eventually(
            lambda: job if (job := self.job(job_id))["state"] in states else None, f"{job_id} in {states}", timeout_s
        )

    def settled(self, job_id: str, timeout_s: float = PATIENCE_S) -> Any:
        """The job once it has ended and none of its events is pending."""

        def look() -> Any:
            job = self.job(job_id)
            events = (job["webhook"] or {"events": []})["events"]
            ended = job["state"] in {"done", "failed"} and all(each["status"] != "pending" for each in events)
            return job if ended else None

        return eventually(look, f"{job_id} settled", timeout_s)

    def cancel_all(self) -> None:
        """End every job that is live, and wait until they all have."""
        for job_id in self.live():
            self.ask("POST", f"/jobs/{job_id}/cancel")
        eventually(lambda: not self.live(), "no job is live")

    def live(self) -> list[str]:
        """The jobs that have not ended."""
        pages = (self.ask("GET", f"/jobs?limit=200&state={state}").json for state in ("queued", "loading", "working"))
        return [job["job_id"] for page in pages for job in page["jobs"]]

    def events(self, job_id: str) -> list[Any]:
        """What the receiver got about a job, in the order in which it came."""
        return [event for event in self.receiver.events if event["job_id"] == job_id]

    def answers(self) -> bool:
        """Whether the API is up."""
        try:
            return self.ask("GET", "/healthz", timeout_s=2).status == 200
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        if SESSION.engine != SQLITE and "FOREMAN_DATABASE_URL" not in self.env:
            self.env = self.env | {"FOREMAN_DATABASE_URL": SESSION.new(self.directory)}
        if "FOREMAN_ARTIFACTS_URL" not in self.env:
            self.env = self.env | ARTIFACTS.settings()
        self.upstream.start()
        self.receiver.__enter__()
        self.valkey.start()
        for name in self.commands:
            self.start(name)
        try:
            eventually(self.answers, "the API answers")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in self.processes:
            self.kill(name)
        if error is not None:
            for name in self.commands:
                print(f"--- {name}\n{self.log(name)[-6000:]}")
        self.valkey.kill()
        self.receiver.__exit__(None, None, None)
        self.upstream.stop()
