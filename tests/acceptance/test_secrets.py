from __future__ import annotations

import base64
import hmac
import json
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import standardwebhooks

from foreman.store.models import TABLES
from tests.acceptance.foreman_up import COMMAND, Up, environment
from tests.acceptance.stack import PATIENCE_S, Answer, Stack, eventually
from tests.postgres import PostgresServer
from tests.receiver import Received, Receiver, always
from tests.upstream import Exchange, FakeOllama, reply

#: The routes that show something without a body, and some that show an error.
LOOKS = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/jobs",
    "/webhooks/events",
    "/api/tags",
    "/api/ps",
    "/api/version",
    "/v1/models",
    "/jobs/x",
    "/jobs?limit=x",
    "/nothing",
)


@dataclass(frozen=True)
class Secrets:
    """What nobody is to see: each unlike anything else on this machine."""

    #: As Standard Webhooks writes them, and any text.
    new: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_hex(16).encode()).decode())
    old: str = field(default_factory=lambda: "old " + secrets.token_hex(16))
    database: str = field(default_factory=lambda: secrets.token_hex(16))
    redis: str = field(default_factory=lambda: secrets.token_hex(16))
    upstream: str = field(default_factory=lambda: secrets.token_hex(16))
    api_key: str = field(default_factory=lambda: "sk-" + secrets.token_hex(16))

    @property
    def texts(self) -> Mapping[str, bytes]:
        """What is searched for, by name: each secret, and what is made of it on the way."""
        basic = base64.b64encode(f"me:{self.upstream}".encode())
        key = self.new.removeprefix("whsec_")
        shown = {"old": self.old, "database": self.database, "redis": self.redis, "upstream": self.upstream}
        return {name: text.encode() for name, text in shown.items()} | {
            "new": key.encode(),
            "new, decoded": base64.b64decode(key),
            "basic": basic,
            "api key": self.api_key.encode(),
        }

    def found(self, data: bytes) -> list[str]:
        """The names of those in ``data``."""
        return [name for name, text in self.texts.items() if text in data]


class Heard(Stack):
    """Keeps whatever the API answers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heard: list[bytes] = []
        self.statuses: set[int] = set()
        self.secrets = Secrets()

    def environ(self) -> dict[str, str]:
        """With a password for the upstream, whose port is known once it runs."""
        url = self.upstream.url.replace("http://", f"http://me:{self.secrets.upstream}@")
        return super().environ() | {"FOREMAN_UPSTREAM_URL": url}

    def ask(self, method: str, path: str, *args: Any, **kwargs: Any) -> Answer:
        """As the stack does, and remember."""
        answer = super().ask(method, path, *args, **kwargs)
        self.statuses.add(answer.status)
        self.heard.append(json.dumps(answer.headers).encode() + answer.raw)
        return answer

    def look_around(self) -> None:
        """Ask whatever shows something."""
        for path in LOOKS:
            self.ask("GET", path)


@dataclass
class Audited:
    """A stack that was told secrets, and the servers that are reached with them."""

    stack: Heard
    postgres: PostgresServer
    database: str
    second: FakeOllama


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """Every part is reached with a password; the servers are known not to insist on the right one."""
    with ExitStack() as exits:
        postgres = exits.enter_context(PostgresServer())
        database = postgres.create("audited")
        second = exits.enter_context(FakeOllama())
        stack = Heard(tmp_path_factory.mktemp("secrets") / "stack")
        told = stack.secrets
        servers = [{"name": "second", "url": second.url, "api_key": told.api_key, "models": ["other"]}]
        stack.env |= {
            "FOREMAN_DATABASE_URL": database.replace("postgres@", f"postgres:{told.database}@"),
            "FOREMAN_REDIS_URL": stack.valkey.url.replace("redis://", f"redis://default:{told.redis}@"),
            "FOREMAN_UPSTREAM_SERVERS": json.dumps(servers),
            "FOREMAN_WEBHOOK_SECRET": f"{told.new},{told.old}",
            "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "0.1",
            "FOREMAN_LOG_LEVEL": "debug",
        }
        yield Audited(exits.enter_context(stack), postgres, database, second)


def verified(request: Received, secret: str) -> bool:
    """Whether a receiver that knows ``secret`` alone accepts both signatures: code that is not foreman's."""
    key = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    standardwebhooks.Webhook(key).verify(request.body, dict(request.headers.items()))
    ours = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), request.body, "sha256").hex()
    return f"sha256={ours}" in request.headers["X-Foreman-Signature"].split(",")


def test_while_a_secret_is_rotated_each_of_the_two_verifies_both_headers(audited: Audited) -> None:
    """One is ``whsec_``, one is plain; events, redeliveries and pings are signed alike."""
    stack = audited.stack
    job_id = stack.submit()
    stack.settled(job_id)
    assert stack.ask("POST", f"/jobs/{job_id}/deliveries/done/redeliver").status == 202
    stack.settled(job_id)
    assert stack.ask("POST", "/webhooks/ping", {"url": stack.receiver.url}).json["outcome"] == "delivered"
    got = stack.receiver.requests
    assert [request.json["type"] for request in got[-3:]] == ["job.done", "job.done", "ping"]
    assert got[-3].body == got[-2].body
    for request in got:
        assert len(request.headers["X-Foreman-Signature"].split(",")) == 2
        assert len(request.headers["webhook-signature"].split(" ")) == 2
        assert verified(request, audited.stack.secrets.new)
        assert verified(request, audited.stack.secrets.old)


def test_no_secret_is_seen_anywhere_after_all_that_can_fail_has_failed(audited: Audited) -> None:
    """In no log, no answer, no row, no file and no command line.

    In no log either: the token in a receiver's URL, and whatever a client, a model or a receiver says.
    """
    stack, told = audited.stack, audited.stack.secrets
    token = secrets.token_hex(16)
    everything_fails(audited, token)
    stack.look_around()
    for name in stack.processes:
        stack.processes[name].send_signal(signal.SIGTERM)
    for process in stack.processes.values():
        process.wait(PATIENCE_S)
    logs = {name: (stack.directory / f"{name}.log").read_bytes() for name in stack.processes}
    assert [name for name, log in logs.items() if token.encode() in log] == []
    seen = {f"{name}.log": log for name, log in logs.items()}
    seen |= {f"answer {number}": answer for number, answer in enumerate(stack.heard)}
    seen |= {f"table {name}": rows for name, rows in dumped(audited.database).items()}
    seen |= {str(path): path.read_bytes() for path in stack.directory.rglob("*") if path.is_file()}
    assert {name: found for name, data in seen.items() if (found := told.found(data))} == {}
    assert b"webhook tried" in logs["webhooks"]
    assert stack.statuses >= {200, 202, 400, 401, 404, 422, 503}


def everything_fails(audited: Audited, token: str) -> None:
    """A receiver, both upstreams, Redis and the database, each in its way, and all of them work again."""
    stack = audited.stack
    stack.receiver.answer = always(500)
    refused = stack.submit(state_webhook_url=f"{stack.receiver.url}?token={token}")
    stack.settled(refused)
    everything_is_said(stack, token)
    stack.ask("GET", f"/jobs/{refused}/deliveries")
    stack.ask("POST", "/webhooks/ping", {"url": f"{stack.receiver.url}?token={token}"})
    stack.ask("POST", "/webhooks/ping", {"url": "https://127.0.0.1:9/"})
    stack.ask("POST", "/webhooks/recover", {"since": "2020-01-01T00:00:00Z"})
    stack.settled(refused)
    stack.receiver.answer = always(204)
    for fake, model in ((stack.upstream, "m"), (audited.second, "other")):
        fake.next(telling_all)
        failed = stack.settled(stack.submit(model=model, max_attempts=1))
        assert failed["state"] == "failed"
        fake.next(telling_all_at_last)
        failed = stack.settled(stack.submit(model=model, max_attempts=1))
        assert failed["state"] == "failed"
        fake.next(telling_all)
        stack.ask("POST", "/api/chat", {"model": model, "messages": [{"role": "user", "content": "Hi"}]})
    stack.upstream.next_generate(telling_all)
    refused_here = stack.ask("POST", "/api/generate", {"model": "m", "prompt": "Hi"})
    assert (refused_here.status, b"is wrong" in refused_here.raw) == (401, True)
    assert seen_on_command_lines(audited.stack.secrets) == []
    stack.ask("POST", "/jobs", {"model": 5})
    stack.valkey.kill()
    eventually(lambda: stack.ask("GET", "/readyz").status == 503, "Redis is missed")
    stack.submit()
    stack.valkey.start()
    audited.postgres.kill()
    assert stack.ask("GET", "/jobs").status == 503
    stack.look_around()
    audited.postgres.start()
    stack.settled(stack.submit())


def everything_is_said(stack: Heard, word: str) -> None:
    """``word`` in all that foreman is told about a job, and by whoever takes part in it, in part too."""
    stack.receiver.answer = always(400, body=word.encode())
    private = {
        "messages": [{"role": "system", "content": word}, {"role": "user", "content": f"Hi {word}"}],
        "metadata": {"order": word, word: 1},
        "options": {"stop": [word]},
        "max_attempts": 1,
    }

    def breaks_off(exchange: Exchange) -> None:
        exchange.begin()
        exchange.line(exchange.part({"content": word, "thinking": word}))
        exchange.line({"error": f"{word} is too much"})
        exchange.end()

    for behaviour, state in ((reply(word, thinking=[word]), "done"), (breaks_off, "failed")):
        stack.upstream.next(behaviour)
        assert stack.settled(stack.submit(**private))["state"] == state
        stack.upstream.next(behaviour)
        stack.ask("POST", "/api/chat", {"model": "m", "messages": private["messages"]})
    assert stack.ask("POST", "/jobs", {"model": [word], "messages": word}).status == 422
    assert stack.ask("POST", "/jobs", b'{"model": "' + word.encode()).status == 400


def telling_all(exchange: Exchange) -> None:
    """An upstream that does not like whom it is spoken to by, and says so in full."""
    exchange.answer(401, {"error": complaint(exchange)})


def telling_all_at_last(exchange: Exchange) -> None:
    """It finds out in the middle of its answer."""
    exchange.begin()
    exchange.line({"error": complaint(exchange)})
    exchange.end()


def complaint(exchange: Exchange) -> str:
    """All that the upstream was told, and what it can make of it."""
    given = exchange.received.headers["Authorization"]
    kind, _, credentials = given.partition(" ")
    known = base64.b64decode(credentials).decode() if kind == "Basic" else credentials
    return f"{known} is wrong, and so is {known.rpartition(':')[2]}: {given}, {credentials}"


def seen_on_command_lines(told: Secrets) -> list[str]:
    """Command lines of any process of this machine that hold a secret."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            data = line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if told.found(data.replace(b"\0", b" ")):
            found.append(data.decode())
    return found


def dumped(database: str) -> dict[str, bytes]:
    """Every row of every table, bytes in them as they are."""
    with closing(psycopg.connect(database)) as connection:
        names = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        assert set(names) >= {table._meta.table_name for table in TABLES}
        rows = {name: connection.execute(f'TABLE "{name}"'.encode()).fetchall() for name in names}
    assert rows["attempts"]
    return {
        name: b"\n".join(each if isinstance(each, bytes) else str(each).encode() for row in found for each in row)
        for name, found in rows.items()
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"FOREMAN_WEBHOOK_SECRET": "whsec_!{old}"},
        {"FOREMAN_WEBHOOK_SECRET": "{old}\nsecond line"},
        {"FOREMAN_DATABASE_URL": "mysql://me:{database}@127.0.0.1/foreman"},
        {"FOREMAN_DATABASE_URL": "postgresql://me:{database}@127.0.0.1:9/foreman"},
        {"FOREMAN_DATABASE_URL": "postgresql://me:{database}@127.0.0.1:port/foreman"},
        {"FOREMAN_REDIS_URL": "http://:{redis}@127.0.0.1"},
        {"FOREMAN_REDIS_URL": "redis://:{redis}@127.0.0.1:9/x"},
        {"FOREMAN_UPSTREAM_URL": "ftp://me:{upstream}@127.0.0.1"},
        {"FOREMAN_UPSTREAM_URL": "http://me:{upstream}@127.0.0.1:x"},
        {"FOREMAN_UPSTREAM_API_KEY": "{api_key} with space"},
        {"FOREMAN_UPSTREAM_SERVERS": '[{{"name": "a", "url": "http://me:{upstream}@", "api_key": "{api_key}"}}]'},
        {"FOREMAN_UPSTREAM_SERVERS": '[{{"name": "a", "api_key": "{api_key}"'},
    ],
)
def test_a_start_that_fails_does_not_say_the_secret(tmp_path: Path, settings: dict[str, str]) -> None:
    """Whatever is wrong with a setting that holds one."""
    told = Secrets()
    given = {name: text.format(**vars(told)) for name, text in settings.items()}
    base = {
        "FOREMAN_DATA_DIR": str(tmp_path / "data"),
        "FOREMAN_REDIS_URL": "redis://127.0.0.1:9/0",
        "FOREMAN_UPSTREAM_URL": "http://127.0.0.1:9",
    }
    ended = subprocess.run(
        [*COMMAND, "process", "webhooks"],
        env=environment(str(tmp_path), base | given),
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode != 0
    assert ended.stderr
    assert told.found(ended.stdout + ended.stderr) == []


def test_up_tells_its_children_no_secret_on_their_command_lines(tmp_path: Path) -> None:
    """They are told by their environment, which only their own user can read; nor is one printed or logged."""
    told = Secrets()
    with Receiver() as receiver, FakeOllama() as upstream:
        settings = {
            "FOREMAN_UPSTREAM_URL": upstream.url.replace("http://", f"http://me:{told.upstream}@"),
            "FOREMAN_WEBHOOK_SECRET": f"{told.new},{told.old}",
            "FOREMAN_WEBHOOK_ALLOW_HTTP": "true",
            "FOREMAN_WEBHOOK_ALLOWED_NETS": "127.0.0.0/8",
        }
        with Up(tmp_path / "data", None, **settings) as up:
            up.until_ready()
            body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "state_webhook_url": receiver.url}
            assert up.call("POST", "/jobs", body, Prefer="wait=30")[0] == 200
            receiver.wait_for(4, PATIENCE_S)
            assert seen_on_command_lines(told) == []
            up.stop()
            assert told.found(up.said.encode() + up.log.encode()) == []
