"""``POST /api/chat``: what its client is told when all goes well, when something is lost, and when it hangs up."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from foreman.domain.job import Claim
from foreman.domain.lifecycle import Cause, State
from foreman.queue.broker import make_broker
from foreman.queue.live import MAX_DATA_B, Publisher
from foreman.store.room import Room
from tests.followers import say, tell
from tests.integration.api import BODY, MAX_BODY_B, Api, in_threads, running_api
from tests.queues import PATIENCE_S, eventually
from tests.valkey import ValkeyServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Redis."""
    with ValkeyServer(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def live(tmp_path: Path, server: ValkeyServer) -> Iterator[Api]:
    """An API that hears of what is published."""
    with running_api(tmp_path, server.url) as running:
        yield running


@pytest.fixture
def publisher(server: ValkeyServer) -> Iterator[Publisher]:
    """What a process that runs jobs has."""
    with closing(Publisher(make_broker(server.url))) as made:
        yield made


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Api]:
    """An API without a Redis."""
    with running_api(tmp_path) as running:
        yield running


def chat(api: Api, sock: socket.socket | None = None, **keys: Any) -> testing.Result:
    """A chat; ``sock`` is the server's side of the connection."""
    return post(api, json.dumps(BODY | keys).encode(), sock)


def post(api: Api, body: bytes, sock: socket.socket | None = None, **headers: str) -> testing.Result:
    """A body for ``/api/chat``, of the type that ``curl -d`` gives it."""
    given = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    extras: dict[str, Any] = {} if sock is None else {"gunicorn.socket": sock}
    return api.client.simulate_post("/api/chat", body=body, headers=given, extras=extras)


def lines(answer: testing.Result) -> list[Any]:
    """The lines of a stream, decoded."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def contents(answer: testing.Result) -> list[str]:
    """The content of each line, or its error."""
    return [line["error"] if "error" in line else line["message"]["content"] for line in lines(answer)]


def submitted(api: Api) -> str:
    """The job of the one chat there is, once it is there."""

    def listed() -> list[Any]:
        jobs: list[Any] = api.get("/jobs").json["jobs"]
        return jobs

    eventually(lambda: bool(listed()))
    return str(listed()[0]["job_id"])


def begin(api: Api, publisher: Publisher, *words: str) -> Claim:
    """Run the chat as far as ``words``."""
    submitted(api)
    claim = api.start()
    for state in (State.LOADING, State.WORKING):
        tell(publisher, claim.job.id, state)
    say(publisher, claim.job.id, *words)
    assert publisher.flush(PATIENCE_S)
    return claim


def end(publisher: Publisher, claim: Claim) -> None:
    """The upstream's last line; the answer is over for its client, whatever else happens to the job."""
    publisher.text(claim.job.id, b'{"model":"tiny","message":{"content":""},"done":true,"eval_count":2}')


def both(api: Api, drive: Callable[[], object], **keys: Any) -> testing.Result:
    """The answer to a chat, while ``drive`` runs it."""
    answer: testing.Result = in_threads(lambda: chat(api, **keys), drive)[0]
    return answer


def test_lines_come_as_the_upstream_sent_them(live: Api, publisher: Publisher) -> None:
    """All their keys and in their order, up to the last one; the job's id is in a header."""
    answer = both(live, lambda: end(publisher, begin(live, publisher, "Hel", "lo")))
    assert lines(answer) == [
        {"message": {"content": "Hel"}},
        {"message": {"content": "lo"}},
        {"model": "tiny", "message": {"content": ""}, "done": True, "eval_count": 2},
    ]
    assert answer.headers["X-Foreman-Job-Id"] == submitted(live)


def test_without_stream_the_answer_is_one_object(live: Api, publisher: Publisher) -> None:
    """As the artifact ``completion`` will be."""
    answer = both(live, lambda: end(publisher, begin(live, publisher, "Hel", "lo")), stream=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    message = {"role": "assistant", "content": "Hello"}
    assert answer.json == {"model": "tiny", "done": True, "eval_count": 2, "message": message}


@pytest.mark.parametrize(("keys", "priority"), [({}, "interactive"), ({"priority": "batch"}, "batch")])
def test_a_chat_is_a_job_like_any_other(live: Api, publisher: Publisher, keys: dict[str, str], priority: str) -> None:
    """First in line unless it says otherwise, and foreman's own keys mean what they mean everywhere."""
    both(live, lambda: end(publisher, begin(live, publisher)), metadata={"a": 1}, **keys)
    job = live.job(submitted(live))
    assert (job["priority"], job["metadata"]) == (priority, {"a": 1})


def test_a_lost_line_comes_with_the_last(live: Api, publisher: Publisher) -> None:
    """Text after a gap is held back; the rest of the answer, from the artifact, makes it whole."""

    def drive() -> None:
        claim = begin(live, publisher, "Hel", "x" * MAX_DATA_B, "!")
        end(publisher, claim)
        assert publisher.flush(PATIENCE_S)
        live.finish_claim(claim, "Hello, world!")
        tell(publisher, claim.job.id, State.DONE)

    answer = both(live, drive)
    assert contents(answer) == ["Hel", "lo, world!"]
    assert lines(answer)[-1]["done"] is True


@pytest.mark.parametrize("stream", [True, False])
def test_without_a_redis_the_answer_comes_as_a_whole(deaf: Api, stream: bool) -> None:  # noqa: FBT001 (a table's column)
    """In one line, when the job is done."""

    def drive() -> None:
        submitted(deaf)
        deaf.finish("Hello")

    answer = both(deaf, drive, stream=stream)
    found = lines(answer)[0] if stream else answer.json
    assert found["message"]["content"] == "Hello"
    assert found["done"] is True


def test_a_run_that_failed_before_its_first_line_is_tried_again_unseen(live: Api, publisher: Publisher) -> None:
    """The client only sees the run that came through."""

    def drive() -> None:
        claim = begin(live, publisher)
        publisher.restart(claim.job.id, 2)
        say(publisher, claim.job.id, "Hello")
        end(publisher, claim)

    assert contents(both(live, drive)) == ["Hello", ""]


def test_what_was_sent_cannot_be_taken_back(live: Api, publisher: Publisher) -> None:
    """A second run would say it all again: the answer ends with an error line, and the job is cancelled."""

    def drive() -> Claim:
        claim = begin(live, publisher, "Hel")
        publisher.restart(claim.job.id, 2)
        eventually(lambda: live.claims.wanted(claim) is not None)
        return claim

    answer, claim = in_threads(lambda: chat(live), drive)
    assert contents(answer)[0] == "Hel"
    assert "cannot be taken back" in contents(answer)[1]
    assert live.claims.wanted(claim) is Cause.CANCELLED


def test_an_answer_in_one_piece_may_come_from_a_second_run(live: Api, publisher: Publisher) -> None:
    """Nothing of the first was sent, so nothing has to be taken back."""

    def drive() -> None:
        claim = begin(live, publisher, "Hal")
        publisher.restart(claim.job.id, 2)
        say(publisher, claim.job.id, "Hello")
        end(publisher, claim)

    assert both(live, drive, stream=False).json["message"]["content"] == "Hello"


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_before_the_first_line_is_a_status(deaf: Api, stream: bool) -> None:  # noqa: FBT001 (as above)
    """The upstream's own, with its words."""

    def drive() -> None:
        submitted(deaf)
        deaf.fail()

    answer = both(deaf, drive, stream=stream)
    assert (answer.status_code, answer.json) == (400, {"error": "The upstream said no."})


def test_a_failure_after_the_first_line_is_a_line(live: Api, publisher: Publisher) -> None:
    """As Ollama's; nothing follows it."""

    def drive() -> None:
        claim = begin(live, publisher, "Hel")
        live.fail_claim(claim)
        tell(publisher, claim.job.id, State.FAILED)

    assert contents(both(live, drive)) == ["Hel", "no byte for 300 s"]


@pytest.mark.parametrize("words", [(), ("Hel",)])
def test_a_client_that_hangs_up_ends_its_job(live: Api, publisher: Publisher, words: tuple[str, ...]) -> None:
    """Whether it has been sent something or not yet."""
    ours, theirs = socket.socketpair()

    def drive() -> Claim:
        claim = begin(live, publisher, *words)
        theirs.close()
        eventually(lambda: live.claims.wanted(claim) is not None)
        return claim

    with ours, theirs:
        _, claim = in_threads(lambda: chat(live, ours), drive)
    assert live.claims.wanted(claim) is Cause.CLIENT_DISCONNECTED


def test_a_client_that_has_all_may_leave(live: Api, publisher: Publisher) -> None:
    """After the last line nobody cancels anything."""
    claims: list[Claim] = []

    def drive() -> None:
        claims.append(begin(live, publisher, "Hi"))
        end(publisher, claims[0])

    both(live, drive)
    assert live.claims.wanted(claims[0]) is None


def test_bytes_of_the_next_request_are_no_hang_up(live: Api, publisher: Publisher) -> None:
    """A client that pipelines is there, and its bytes stay where they are."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET /next")
        answer, _ = in_threads(lambda: chat(live, ours), lambda: end(publisher, begin(live, publisher, "Hi")))
        assert contents(answer) == ["Hi", ""]
        assert ours.recv(100) == b"GET /next"


def test_a_stop_sends_away_whoever_has_got_nothing_yet(deaf: Api) -> None:
    """503 and the job is cancelled: its client asks another process."""

    def drive() -> None:
        submitted(deaf)
        deaf.parts.stopping.set()

    answer = both(deaf, drive)
    assert answer.status_code == 503
    assert deaf.job(submitted(deaf))["error"]["code"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "The body is not JSON"),
        (b"{", 400, "The body is not JSON"),
        (b"[]", 400, "the body must be a JSON object"),
        (b'{"messages": []}', 400, "/model is required"),
        (b'{"model": "m", "messages": [{"role": "x", "content": ""}]}', 400, "/messages/0/role must be one of"),
        (b'{"model": "m", "stream": 1}', 400, "/stream must be true or false"),
        (b'{"model": "m", "priority": "high"}', 400, "/priority must be one of"),
        (b'{"model": "m", "state_webhook_url": "http://127.0.0.1/"}', 400, "/state_webhook_url"),
        (b" " * (MAX_BODY_B + 1), 413, "The body must be at most"),
    ],
)
def test_a_bad_chat_is_refused_as_ollama_refuses(deaf: Api, body: bytes, status: int, words: str) -> None:
    """One sentence under ``error``, and no job."""
    answer = post(deaf, body)
    assert answer.status_code == status
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith(words)
    assert deaf.get("/jobs").json["jobs"] == []


def test_a_full_queue_says_when_to_come_back(deaf: Api) -> None:
    """503, ``Retry-After``, and Ollama's form."""
    jobs = replace(deaf.parts.jobs, room=Room(0))
    deaf.rebuild(submitter=replace(deaf.parts.submitter, jobs=jobs))
    answer = chat(deaf)
    assert (answer.status_code, list(answer.json)) == (503, ["error"])
    assert int(answer.headers["Retry-After"]) > 0


def test_there_are_only_so_many_places(deaf: Api) -> None:
    """Synchronous calls and followers share them; beyond, 503 and no job."""
    deaf.rebuild(max_followers=1)

    def drive() -> testing.Result:
        job_id = submitted(deaf)
        second = chat(deaf)
        deaf.client.simulate_post(f"/jobs/{job_id}/cancel")
        return second

    first, second = in_threads(lambda: chat(deaf), drive)
    assert (first.status_code, second.status_code) == (499, 503)
    assert len(deaf.get("/jobs").json["jobs"]) == 1


def test_unknown_paths_are_refused_in_the_form_of_their_clients(deaf: Api) -> None:
    """Ollama's below ``/api``, OpenAI's below ``/v1``, problems elsewhere."""
    assert deaf.get("/api/pull").json == {"error": "No resource has this path."}
    assert deaf.client.simulate_delete("/api/chat").status_code == 405
    assert deaf.get("/v1/nothing").json["error"]["type"] == "not_found_error"
    assert "type" in deaf.get("/apis").json


def test_what_is_handed_on_to_an_upstream_that_is_away_is_a_bad_gateway(deaf: Api) -> None:
    """502, Ollama's form, and no address."""
    for answer in (deaf.get("/api/tags"), deaf.client.simulate_post("/api/show", body=b'{"model": "m"}')):
        assert (answer.status_code, answer.json) == (502, {"error": "The upstream refused the connection."})
