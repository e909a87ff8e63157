"""API keys through real processes on an address that others could reach: the commands, official clients, and traces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest
from click.testing import CliRunner

from foreman.cli.main import main
from foreman.client import Client, JobNotFound, KeyRefused, Unavailable
from tests.acceptance.foreman_up import COMMAND, Up
from tests.acceptance.stack import Answer, Stack, eventually
from tests.addresses import free_port

MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "m", "messages": MESSAGES}


@dataclass(frozen=True)
class Holder:
    """Somebody with a key."""

    stack: Stack
    key: str

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """One request with the key."""
        return self.stack.ask(method, path, body, {"Authorization": f"Bearer {self.key}"})

    def submit(self) -> str:
        """Submit a job and return its id."""
        answer = self.ask("POST", "/jobs", CHAT)
        assert answer.status == 202, answer
        return str(answer.json["job_id"])

    def done(self, job_id: str) -> Any:
        """The job once it is done."""
        job = self.ask("GET", f"/jobs/{job_id}?wait=30").json
        assert job["state"] == "done", job
        return job


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Procfile's processes, on every address of this machine, and no word about keys in the settings."""
    made = Stack(tmp_path_factory.mktemp("keys") / "stack")
    made.env["FOREMAN_WEB_BIND"] = f"0.0.0.0:{made.port}"
    with made as running:
        yield running


def _keys(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``foreman keys …`` with the settings of the stack."""
    command = [*COMMAND, "keys", *arguments]
    return subprocess.run(
        command, env=stack.environ(), cwd=stack.directory, capture_output=True, text=True, check=False, timeout=60
    )


def _create(stack: Stack, name: str, *options: str) -> Holder:
    made = _keys(stack, "create", name, *options)
    assert made.returncode == 0, made.stderr
    return Holder(stack, made.stdout.strip())


def test_beyond_loopback_nothing_is_answered_without_a_key(stack: Stack) -> None:
    """From the first start on, before there is any key; the log says how to make one, and probes are answered."""
    assert stack.ask("GET", "/healthz").status == 200
    assert stack.ask("HEAD", "/").status == 200
    assert stack.ask("POST", "/jobs", CHAT).status == 401
    assert "foreman keys create NAME" in stack.log("web")


def test_a_key_works_from_its_making_until_it_is_revoked(stack: Stack) -> None:
    """Without a restart: what ``create`` printed is let in, and after ``revoke`` the next request is not."""
    mine, other = _create(stack, "mine"), _create(stack, "other")
    job_id = mine.submit()
    job = mine.done(job_id)
    [artifact] = job["artifacts"]
    path = f"/jobs/{job_id}/artifacts/{artifact['name']}"
    assert mine.ask("GET", path).status == 200
    for hidden in (f"/jobs/{job_id}", f"/jobs/{job_id}/events", path):
        assert other.ask("GET", hidden).status == 404
    assert other.ask("GET", "/jobs").json["jobs"] == []
    listed = json.loads(_keys(stack, "list", "--json").stdout)
    [key_id] = [each["id"] for each in listed if each["name"] == "mine"]
    assert _keys(stack, "revoke", key_id).returncode == 0
    assert mine.ask("GET", f"/jobs/{job_id}").status == 401
    [revoked] = [each for each in json.loads(_keys(stack, "list", "--json").stdout) if each["id"] == key_id]
    assert json.loads(_keys(stack, "revoke", key_id, "--json").stdout) == revoked
    assert revoked["revoked_at"] is not None
    assert _keys(stack, "revoke", key_id).stdout == f"revoked {key_id}, mine\n"
    assert _keys(stack, "revoke", "nothing").returncode == 1


def test_commands_speak_with_the_key_of_the_environment(stack: Stack) -> None:
    """Without one they say how to come by it, in one line; the key is in no output, and sees its own jobs only."""
    holder = _create(stack, "terminal")
    job_id = holder.submit()
    env = {"FOREMAN_URL": stack.url}
    without = CliRunner().invoke(main, ["jobs"], env=env)
    assert without.exit_code == 1
    assert without.stderr.startswith("foreman: ")
    assert "FOREMAN_API_KEY" in without.stderr
    listed = CliRunner().invoke(main, ["jobs", "--json"], env=env | {"FOREMAN_API_KEY": holder.key})
    assert [each["job_id"] for each in json.loads(listed.stdout)] == [job_id]
    unnamed = CliRunner().invoke(main, ["submit", "Hi"], env=env | {"FOREMAN_API_KEY": holder.key})
    assert unnamed.exit_code == 2, "which models there are is not a plain key's to know"
    assert "name the model: --model NAME" in unnamed.stderr
    assert holder.key not in without.output + listed.output + unnamed.output


def test_an_admin_key_sees_every_job_and_the_metrics(stack: Stack) -> None:
    """What a plain key may not."""
    plain, admin = _create(stack, "plain"), _create(stack, "root", "--admin")
    job_id = plain.submit()
    assert admin.ask("GET", f"/jobs/{job_id}").status == 200
    assert admin.ask("GET", "/metrics").status == 200
    assert plain.ask("GET", "/metrics").status == 403


def test_foremans_own_client_works_with_a_key(stack: Stack) -> None:
    """It sees its key's jobs, follows them, and has an error of its own for what a key does not allow."""
    holder, other = _create(stack, "client", "--max-priority", "normal"), _create(stack, "stranger")
    with Client(stack.url, holder.key) as client:
        job_id = client.submit(CHAT).job_id
        assert client.result(job_id)["message"]["content"] == "Hello, world!"
        assert [job.job_id for job in client.jobs()] == [job_id]
        with pytest.raises(Unavailable) as found:
            client.submit(CHAT, priority="interactive")
        assert found.value.kind == "priority-not-allowed"
        with pytest.raises(KeyRefused):
            client.upstreams()
    with Client(stack.url, other.key) as client, pytest.raises(JobNotFound):
        list(client.follow(job_id))
    with Client(stack.url) as client, pytest.raises(KeyRefused):
        client.get(job_id)


def test_ollamas_client_works_with_a_key(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a header, or as ``OLLAMA_API_KEY``; without one it raises its own error."""
    holder = _create(stack, "ollama", "--max-priority", "normal")
    with closing(ollama.Client(host=stack.url, headers={"Authorization": f"Bearer {holder.key}"})) as client:
        assert client.chat("m", messages=MESSAGES).message.content == "Hello, world!"
    monkeypatch.setenv("OLLAMA_API_KEY", holder.key)
    with closing(ollama.Client(host=stack.url)) as client:
        streamed = client.chat("m", messages=MESSAGES, stream=True)
        assert "".join(part.message.content or "" for part in streamed) == "Hello, world!"
    assert {job["priority"] for job in holder.ask("GET", "/jobs").json["jobs"]} == {"normal"}
    monkeypatch.delenv("OLLAMA_API_KEY")
    with closing(ollama.Client(host=stack.url)) as client, pytest.raises(ollama.ResponseError) as refused:
        client.chat("m", messages=MESSAGES)
    assert refused.value.status_code == 401


def test_openais_client_works_with_a_key(stack: Stack) -> None:
    """As its ``api_key``; what is refused is the exception that its users catch."""
    holder = _create(stack, "openai", "--per-minute", "1")

    def chat(key: str) -> str | None:
        with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0) as client:
            made = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
            return made.choices[0].message.content

    assert chat(holder.key) == "Hello, world!"
    with pytest.raises(openai.RateLimitError):
        chat(holder.key)
    with pytest.raises(openai.AuthenticationError):
        chat("x")


@pytest.mark.sqlite
def test_a_key_leaves_no_trace(stack: Stack) -> None:
    """Its secret is in no log, no file of the database, no answer and no command line of any process."""
    holder = _create(stack, "traced")
    secret = holder.key[-43:]
    job_id = holder.submit()
    job = holder.done(job_id)
    bad = stack.ask("GET", "/jobs", headers={"Authorization": f"Bearer {holder.key}x"})
    for answer in (bad, holder.ask("GET", "/jobs"), holder.ask("GET", "/nothing"), holder.ask("GET", "/metrics")):
        assert secret.encode() not in answer.raw
        assert secret not in str(answer.headers)
    assert secret not in json.dumps(job)
    assert secret not in _keys(stack, "list").stdout + _keys(stack, "list", "--json").stdout
    eventually(lambda: f"/jobs/{job_id}" in stack.log("web"), "the request is logged")
    searched = [path for path in stack.directory.rglob("*") if path.is_file()]
    assert {"web.log", "jobs.log", "foreman.db"} <= {path.name for path in searched}
    for path in searched:
        assert secret.encode() not in path.read_bytes(), path
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_a_key_is_described_as_json_to_programs(stack: Stack) -> None:
    """With everything that it allows; times in UTC."""
    options = ("--admin", "--max-queued", "3", "--max-priority", "batch", "--per-minute", "9", "--json")
    made = json.loads(_keys(stack, "create", "a program", *options).stdout)
    assert made["key"].startswith(f"fm_{made['id']}_")
    listed = {each["id"]: each for each in json.loads(_keys(stack, "list", "--json").stdout)}
    assert made | listed[made["id"]] == made
    described = {
        name: made[name] for name in ("name", "admin", "max_queued", "max_priority", "per_minute", "revoked_at")
    }
    assert described == {
        "name": "a program",
        "admin": True,
        "max_queued": 3,
        "max_priority": "batch",
        "per_minute": 9,
        "revoked_at": None,
    }


NO_KEYS = [
    (),
    ("",),
    ("two\nlines",),
    ("x" * 65,),
    ("ok", "--max-queued", "0"),
    ("ok", "--max-priority", "urgent"),
    ("ok", "--per-minute", "-1"),
]


def test_a_key_that_cannot_be_is_not_made(stack: Stack) -> None:
    """The exit status of a wrong command line, and nothing on standard output to be taken for a key."""
    before = _keys(stack, "list").stdout
    refused = {arguments: _keys(stack, "create", *arguments) for arguments in NO_KEYS}
    assert {arguments: (each.returncode, each.stdout) for arguments, each in refused.items()} == dict.fromkeys(
        NO_KEYS, (2, "")
    )
    assert _keys(stack, "list").stdout == before


#: What ``web.auth`` says, what ``foreman up`` says of keys, and what a request without one gets.
ON_EVERY_ADDRESS = [
    ("auto", "keys:     required", "there is none yet: foreman keys create NAME", 401),
    ("off", "", "web.auth is off: whoever reaches", 200),
]


@pytest.mark.parametrize(("auth", "said", "logged", "status"), ON_EVERY_ADDRESS)
def test_up_says_how_it_stands_with_keys(tmp_path: Path, auth: str, said: str, logged: str, status: int) -> None:
    """Nobody opens a machine to a network without being told so, nor waits for answers that need a key."""
    port = free_port()
    settings = {
        "FOREMAN_WEB_BIND": f"0.0.0.0:{port}",
        "FOREMAN_WEB_AUTH": auth,
        "FOREMAN_UPSTREAM_URL": "http://127.0.0.1:9",
    }
    with Up(tmp_path / "data", port, **settings) as up:
        up.until_ready()
        assert said in up.said
        assert ("keys:" in up.said) == bool(said)
        assert logged in up.log
        assert up.call("GET", "/jobs")[0] == status
