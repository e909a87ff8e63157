"""The examples in docs/examples, run as they say, with real deliveries from real processes."""

from __future__ import annotations

import http.client
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from foreman.domain.event import event_headers
from tests.acceptance.stack import ROOT, Stack, eventually
from tests.addresses import free_port
from tests.databases import SESSION
from tests.receiver import Received

EXAMPLES = ROOT / "docs" / "examples"
BIN = Path(sys.executable).parent
SECRET = "acceptance-secret"
#: Where foreman is, and nothing is left beside the examples.
PYTHON = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
#: Longer than a block of SHA-256, which HMAC treats in another way.
LONG = "long" * 20

#: Once is enough: a receiver does not see which database there is.
pytestmark = pytest.mark.parametrize("running", [SESSION.engine], indirect=True)


def in_database(inbox: Path, job_id: str) -> tuple[list[str], str | None]:
    """The ids of a job's events, and the state that it is in, as ``inbox.py`` keeps them."""
    with closing(sqlite3.connect(inbox)) as database:
        ids = [each[0] for each in database.execute("SELECT id FROM events WHERE id LIKE ?", (f"{job_id}-%",))]
        state = database.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return sorted(ids), state and state[0]


def in_directory(inbox: Path, job_id: str) -> tuple[list[str], str | None]:
    """The same, as the names of files tell."""
    names = sorted(each.name for each in inbox.iterdir() if each.name.startswith(job_id))
    states = [name.split(".")[2] for name in names]
    assert not list(inbox.glob(".*")), "drafts are left over"
    return sorted(f"{job_id}-{state}" for state in states), states[-1] if states else None


@contextmanager
def without_table(inbox: Path) -> Iterator[None]:
    """Nothing can be written to the database meanwhile."""
    with closing(sqlite3.connect(inbox)) as database:
        database.execute("ALTER TABLE jobs RENAME TO away")
        try:
            yield
        finally:
            database.execute("ALTER TABLE away RENAME TO jobs")


@contextmanager
def without_directory(inbox: Path) -> Iterator[None]:
    """Nothing can be written to the directory meanwhile."""
    away = inbox.rename(inbox.with_name("away"))
    try:
        yield
    finally:
        away.rename(inbox)


@dataclass(frozen=True)
class Kind:
    """How one of the receivers is started, what it keeps, and how its disk fails."""

    command: Callable[[int], list[str]]
    kept: Callable[[Path, str], tuple[list[str], str | None]]
    broken: Callable[[Path], AbstractContextManager[None]]


KINDS = {
    "receiver.py": Kind(lambda port: [sys.executable, "-BES", "receiver.py", str(port)], in_database, without_table),
    "receiver_wsgi.py": Kind(
        lambda port: [f"{BIN}/gunicorn", "--bind", f"127.0.0.1:{port}", "receiver_wsgi:app"], in_database, without_table
    ),
    "receiver_asgi.py": Kind(
        lambda port: [f"{BIN}/gunicorn", "-k", "asgi", "-b", f"127.0.0.1:{port}", "receiver_asgi:app"],
        in_database,
        without_table,
    ),
    "receiver.mjs": Kind(lambda port: ["node", "receiver.mjs", str(port)], in_directory, without_directory),
    "receiver.sh": Kind(
        lambda port: [sys.executable, str(ROOT / "tests/cgi_server.py"), str(port), str(EXAMPLES / "receiver.sh")],
        in_directory,
        without_directory,
    ),
}


@dataclass(frozen=True)
class Running:
    """A receiver that listens."""

    port: int
    inbox: Path
    kind: Kind

    @property
    def url(self) -> str:
        """Where events are to be sent."""
        return f"http://127.0.0.1:{self.port}/cgi-bin/hook"

    def kept(self, job_id: str) -> tuple[list[str], str | None]:
        """The ids of a job's events that were recorded, and the state that the receiver thinks it is in."""
        return self.kind.kept(self.inbox, job_id)

    def answer_to(self, request: Received, headers: dict[str, str] | None = None, body: bytes | None = None) -> int:
        """The status that a request gets, sent as it was or with changes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            sent = request.body if body is None else body
            given = {name: value for name, value in request.headers.items() if name not in {"Host", "Content-Length"}}
            connection.request("POST", "/cgi-bin/hook", sent, given | (headers or {}))
            return connection.getresponse().status


@pytest.fixture(scope="module", params=KINDS)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Each of them, with the secret of the stack and others that are on their way out."""
    kind = KINDS[request.param]
    port = free_port()
    inbox = tmp_path_factory.mktemp("receiver") / "inbox"
    if kind.kept is in_directory:
        inbox.mkdir()
    environ = os.environ | {
        "WEBHOOK_SECRET": f"{SECRET}, whsec_b2xkZXI,{LONG}",
        "INBOX": str(inbox),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(kind.command(port), cwd=EXAMPLES, env=environ, start_new_session=True)
    try:
        eventually(lambda: process.poll() is not None or _listens(port), f"{request.param} listens")
        assert process.poll() is None
        yield Running(port, inbox, kind)
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def genuine(stack: Stack) -> Received:
    """The delivery of ``done`` to a receiver that keeps it as it came."""
    job_id = stack.submit(state_webhook_events=["done"])
    return received(stack, job_id, 1)[0]


def received(stack: Stack, job_id: str, count: int) -> list[Received]:
    """What that receiver got of a job, once that is ``count`` events: one try of each, by their sequence."""

    def look() -> list[Received]:
        mine = (each for each in stack.receiver.requests if each.json.get("job_id") == job_id)
        found = {each.json["sequence"]: each for each in mine}
        return [found[sequence] for sequence in sorted(found)] if len(found) == count else []

    return eventually(look, f"{count} events of {job_id}")


def test_a_receiver_keeps_every_event_once_whatever_comes_again(stack: Stack, receiver: Running) -> None:
    """Four events of a real job, then the first of them again: nothing is recorded twice, and nothing steps back."""
    job_id = stack.submit(state_webhook_url=receiver.url)
    job = stack.settled(job_id)
    assert [each["status"] for each in job["webhook"]["events"]] == ["delivered"] * 4
    expected = ([f"{job_id}-{state}" for state in ("done", "loading", "queued", "working")], "done")
    assert receiver.kept(job_id) == expected
    assert stack.ask("POST", f"/jobs/{job_id}/deliveries/queued/redeliver").status == 202
    again = stack.settled(job_id)["webhook"]["events"][0]
    assert again["status"] == "delivered"
    assert again["attempts"] >= 2
    assert receiver.kept(job_id) == expected


def test_a_receiver_sorts_out_what_comes_in_the_wrong_order(stack: Stack, receiver: Running) -> None:
    """The last event first: the job stays where it is when the earlier ones come in."""
    job_id = stack.submit()
    for request in reversed(received(stack, job_id, 4)):
        assert receiver.answer_to(request) == 204
        assert receiver.kept(job_id)[1] == "done"
    assert len(receiver.kept(job_id)[0]) == 4


def test_a_receiver_believes_nothing_that_was_tampered_with(stack: Stack, receiver: Running) -> None:
    """401 to a changed body, id, time or signature, to none at all and to an old recording; what is genuine passes."""
    request = genuine(stack)
    job_id = request.json["job_id"]
    seconds = int(request.headers["webhook-timestamp"])
    changed = request.body.replace(b'"terminal":true', b'"terminal":null')
    assert changed != request.body
    assert receiver.answer_to(request, body=changed) == 401
    for headers in (
        {"webhook-id": f"{job_id}-failed"},
        {"webhook-timestamp": str(seconds + 1)},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"X-Foreman-Signature": "sha256=00"},
        {"X-Foreman-Signature": "*"},
        signed(request, b"another", time.time()),
        signed(request, SECRET.encode(), time.time() - 400),
        signed(request, SECRET.encode(), time.time() + 400),
    ):
        assert receiver.answer_to(request, headers) == 401, headers
    assert receiver.kept(job_id) == ([], None)
    for secret in (b"older", LONG.encode()):
        assert receiver.answer_to(request, signed(request, secret, time.time())) == 204
    assert receiver.kept(job_id) == ([f"{job_id}-done"], "done")


def test_a_receiver_accepts_nothing_that_it_could_not_record(stack: Stack, receiver: Running) -> None:
    """While its disk fails it answers no 2xx, so foreman will come again; then it takes what comes."""
    request = genuine(stack)
    # No answer at all accepts nothing either.
    with receiver.kind.broken(receiver.inbox), suppress(http.client.RemoteDisconnected):
        assert receiver.answer_to(request) >= 500
    assert receiver.answer_to(request) == 204
    assert receiver.kept(request.json["job_id"])[1] == "done"


def test_a_receiver_answers_a_ping(stack: Stack, receiver: Running) -> None:
    """An operator who tries the URL sees that the secret is right."""
    answer = stack.ask("POST", "/webhooks/ping", {"url": receiver.url})
    assert (answer.json["outcome"], answer.json["status"]) == ("delivered", 204)


def test_the_example_of_a_submission_shows_and_keeps_its_result(stack: Stack, tmp_path: Path) -> None:
    """States and text on the terminal, the completion in a file."""
    command = [sys.executable, str(EXAMPLES / "submit.py"), stack.url, "m"]
    environ = os.environ | PYTHON
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    [kept] = tmp_path.glob("*.json")
    expected = r"\[queued\]\n\[loading\]\n\[working\]\nHello, world!\n\[done\]\n4 tokens, kept in (.*) \(\d+ bytes\)\n"
    assert re.fullmatch(expected, ran.stdout)
    assert "Hello, world!" in kept.read_text()


def signed(request: Received, secret: bytes, at_s: float) -> dict[str, str]:
    """The headers with which the request would have been signed with ``secret`` at ``at_s``."""
    return event_headers(
        request.headers["webhook-id"],
        request.body,
        secrets=(secret,),
        now=round(at_s * 1000),
        attempt=1,
        sequence=4,
        user_agent="test",
    )
