"""The synchronous path through real processes, as Ollama's official Python client and plain sockets see it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.acceptance.stack import Stack, eventually
from tests.upstream import Behaviour, Exchange, reply, stats
from tests.upstream_faults import after, error_line, hang, held, raw, reset, status

MESSAGES = [{"role": "user", "content": "Hi"}]

#: Seconds from a client's hang-up to the end of its job; contract section 6.
PROMISE_S = 2.0

#: Seconds that a machine with much else to do adds to it.
GRACE_S = 4.0

#: As much of a picture as says what it is.
PNG = b"\x89PNG\r\n\x1a\n"

CALL = {"function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}}


@pytest.fixture
def client(stack: Stack) -> Iterator[ollama.Client]:
    """The official client; the upstream has one model."""
    stack.upstream.models = {"m"}
    with official(stack) as made:
        yield made
    stack.upstream.models = None


@contextmanager
def official(stack: Stack) -> Iterator[ollama.Client]:
    """Ollama's client with nothing changed but its host."""
    client = ollama.Client(host=stack.url)
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]  # theirs


def ask(client: ollama.Client, model: str, *, stream: bool) -> None:
    """A chat whose answer is of no interest."""
    if stream:
        list(client.chat(model, messages=MESSAGES, stream=True))
    else:
        client.chat(model, messages=MESSAGES)


def the_rest(exchange: Exchange) -> None:
    """The end of an answer that was begun by ``after``."""
    for token in "abc":
        exchange.line(exchange.part({"content": token}))
    exchange.line(exchange.part({}, **stats(5)))
    exchange.end()


def weather(city: str, days: int) -> str:
    """Tell the weather.

    Args:
        city: Where.
        days: For how long.
    """
    return f"{city}: {days}"


def talk(port: int, body: dict[str, Any]) -> tuple[int, str | None, bytes]:
    """What a server at ``port`` answers a chat with: status, type and bytes, less the moments they were made at."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/api/chat", json.dumps(body))
    answer = connection.getresponse()
    found = re.sub(rb'(?<="created_at":)( ?)"[^"]*"', rb"\1null", answer.read())
    connection.close()
    return answer.status, answer.getheader("Content-Type"), found


def hang_up(stack: Stack, *behaviours: Behaviour, read_b: int) -> str:
    """Begin a chat, read ``read_b`` bytes of its body, and leave; returns the job's id."""
    before = len(stack.upstream.chats)
    stack.upstream.next(*behaviours)
    known = {job["job_id"] for job in stack.ask("GET", "/jobs").json["jobs"]}
    body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        stack.upstream.wait_for(lambda: len(stack.upstream.chats) > before)
        if read_b:
            response = http.client.HTTPResponse(sock)
            response.begin()
            assert len(response.read(read_b)) == read_b
    [job_id] = {job["job_id"] for job in stack.ask("GET", "/jobs").json["jobs"]} - known
    return str(job_id)


def test_a_chat_is_what_ollama_answers(client: ollama.Client) -> None:
    """In one piece."""
    answer = client.chat("m", messages=MESSAGES)
    assert (answer.model, answer.message.role, answer.message.content) == ("m", "assistant", "Hello, world!")
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "stop", 4)


def test_a_streamed_chat_is_what_ollama_answers(client: ollama.Client) -> None:
    """Token by token, with the figures in the last."""
    answer = list(client.chat("m", messages=MESSAGES, stream=True))
    assert [part.message.content for part in answer] == ["Hello", ", ", "world", "!", ""]
    assert [part.done for part in answer] == [False] * 4 + [True]
    assert answer[-1].total_duration == 5_191_566_416


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_and_tool_calls_arrive(stack: Stack, client: ollama.Client, stream: bool) -> None:  # noqa: FBT001 (a table's column)
    """As objects, and the request's tools reach the upstream."""
    stack.upstream.next(reply(thinking=["Hm", "m."], tool_calls=[CALL]))
    if stream:
        parts = list(client.chat("m", messages=MESSAGES, tools=[weather], think=True, stream=True))
    else:
        parts = [client.chat("m", messages=MESSAGES, tools=[weather], think=True)]
    assert "".join(part.message.thinking or "" for part in parts) == "Hmm."
    [call] = [call for part in parts for call in part.message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris", "days": 2})
    sent = stack.upstream.chats[-1].body
    assert sent["think"] is True
    assert sent["tools"][0]["function"]["name"] == "weather"


def test_empty_messages_load_and_unload(stack: Stack, client: ollama.Client) -> None:
    """As with Ollama itself."""
    assert client.chat("m").done_reason == "load"
    assert [model.model for model in client.ps().models] == ["m"]
    assert client.chat("m", keep_alive=0).done_reason == "unload"
    assert client.ps().models == []


def test_models_can_be_looked_at(client: ollama.Client) -> None:
    """List and show."""
    assert [model.model for model in client.list().models] == ["m"]
    assert client.show("m").capabilities == ["completion"]


def test_the_version_is_the_upstreams_own(stack: Stack) -> None:
    """Clients decide by it what they may ask for; the official one does not ask for it."""
    answer = stack.ask("GET", "/api/version")
    assert (answer.status, answer.json) == (200, {"version": "0.12.6"})


def test_images_and_a_format_reach_the_upstream(stack: Stack, client: ollama.Client) -> None:
    """As the client sends them."""
    schema = {"type": "object", "properties": {"seen": {"type": "string"}}}
    message = {"role": "user", "content": "What is this?", "images": [PNG]}
    client.chat("m", messages=[message], format=schema, options={"seed": 1})
    sent = stack.upstream.chats[-1].body
    assert sent["messages"] == [message | {"images": [base64.b64encode(PNG).decode()]}]
    assert (sent["format"], sent["options"]) == (schema, {"seed": 1})


def test_texts_are_generated_and_embedded(stack: Stack, client: ollama.Client) -> None:
    """Past the queue, as the upstream answers."""
    assert client.embed("m", "Hi").embeddings == [[0.25, -0.5]]
    assert client.embeddings("m", "Hi").embedding == [0.25, -0.5]
    parts = list(client.generate("m", "Hi", stream=True))
    assert "".join(part.response or "" for part in parts) == "Hello"
    assert stack.upstream.to("/api/generate")[-1].body["prompt"] == "Hi"


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_model_is_a_404(client: ollama.Client, stream: bool) -> None:  # noqa: FBT001 (as above)
    """Before anything is sent, so the client can tell."""
    with pytest.raises(ollama.ResponseError) as raised:
        ask(client, "none", stream=stream)
    assert (raised.value.status_code, raised.value.error) == (404, "model 'none' not found")


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_is_the_upstreams_own(stack: Stack, client: ollama.Client, stream: bool) -> None:  # noqa: FBT001
    """Status and words."""
    stack.upstream.next(status(400, '"m" does not support tools'))
    with pytest.raises(ollama.ResponseError) as raised:
        ask(client, "m", stream=stream)
    assert (raised.value.status_code, raised.value.error) == (400, '"m" does not support tools')


def test_an_error_in_the_stream_is_raised(stack: Stack, client: ollama.Client) -> None:
    """After the tokens that there were."""
    stack.upstream.next(after(2, error_line("out of memory")))
    parts = client.chat("m", messages=MESSAGES, stream=True)
    assert [next(parts).message.content, next(parts).message.content] == ["t0 ", "t1 "]
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        next(parts)


@pytest.mark.parametrize(
    "keys",
    [
        {"messages": MESSAGES},
        {"messages": MESSAGES, "stream": False},
        {"messages": [], "stream": False},
        {"messages": []},
        {},
        {"messages": [], "keep_alive": "0s"},
        {"messages": MESSAGES, "options": {"temperature": 0}, "unknown": [1.5, None, "é"], "keep_alive": "5m"},
    ],
)
def test_foreman_answers_what_the_upstream_does(stack: Stack, keys: dict[str, Any]) -> None:
    """The same status, type and bytes; what is put together of a stream is the same object, key after key."""
    stack.upstream.next(*[reply("Hé", "\N{PILE OF POO}", "\u2028", thinking=["…"], tool_calls=[CALL])] * 2)
    through = talk(stack.port, {"model": "m"} | keys)
    direct = talk(stack.upstream.port, {"model": "m"} | keys)
    stack.upstream._chats.clear()
    assert through[:2] == direct[:2]
    if through[1] == "application/x-ndjson":
        assert through[2] == direct[2]
    else:
        ours, theirs = json.loads(through[2]), json.loads(direct[2])
        assert list(ours) == list(theirs)
        assert ours["message"]["content"] == theirs["message"]["content"]


def test_webhooks_are_sent_on_this_path_too(stack: Stack) -> None:
    """All of a job's states, and the id in the header is the job's; none of foreman's keys goes upstream."""
    body = {"model": "m", "messages": MESSAGES, "state_webhook_url": stack.receiver.url, "metadata": {"a": 1}}
    answer = stack.ask("POST", "/api/chat", body)
    job_id = answer.headers["x-foreman-job-id"]
    job = stack.settled(job_id)
    assert (job["state"], job["priority"], job["metadata"]) == ("done", "interactive", {"a": 1})
    assert [event["state"] for event in stack.events(job_id)] == ["queued", "loading", "working", "done"]
    assert stack.upstream.chats[-1].body.keys() == {"model", "messages", "stream"}


def test_one_object_is_the_artifact(stack: Stack) -> None:
    """Byte for byte."""
    answer = stack.ask("POST", "/api/chat", {"model": "m", "messages": MESSAGES, "stream": False})
    job_id = answer.headers["x-foreman-job-id"]
    stack.settled(job_id)
    assert stack.ask("GET", f"/jobs/{job_id}/artifacts/completion").raw == answer.raw


@pytest.mark.parametrize(("behaviour", "read_b"), [(hang, 0), (after(2, hang), 20)])
def test_a_client_that_hangs_up_ends_its_job(stack: Stack, behaviour: Behaviour, read_b: int) -> None:
    """Within two seconds the upstream's connection is closed and the slot is free, text or none."""
    job_id = hang_up(stack, behaviour, read_b=read_b)
    left_at = time.monotonic()
    job = stack.until(job_id, "failed")
    assert time.monotonic() - left_at < PROMISE_S + GRACE_S
    assert job["error"]["code"] == "client_disconnected"
    call = stack.upstream.chats[-1]
    assert call.ended.wait(60)
    assert call.hung_up
    stack.until(stack.submit(), "done")


def test_a_client_that_hangs_up_in_line_leaves_it(stack: Stack) -> None:
    """A job that is queued is not run for nobody."""
    gate = threading.Event()
    stack.upstream.next(held(gate))
    stack.until(stack.submit(), "working")
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        body = json.dumps({"model": "queued", "messages": MESSAGES}).encode()
        sock.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        jobs = eventually(lambda: stack.ask("GET", "/jobs?model=queued").json["jobs"], "the job is there")
    job = stack.until(jobs[0]["job_id"], "failed")
    gate.set()
    assert job["error"]["code"] == "client_disconnected"
    assert "loading" not in job["timestamps"]


def test_a_generation_that_nobody_hears_is_broken_off(stack: Stack) -> None:
    """What is handed on past the queue ends with its client, too."""
    stack.upstream.next_generate(hang)
    before = len(stack.upstream.to("/api/generate"))
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(b'POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"model": "m"}')
        stack.upstream.wait_for(lambda: len(stack.upstream.to("/api/generate")) > before)
    call = stack.upstream.to("/api/generate")[before]
    assert call.ended.wait(60)
    assert call.hung_up


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [
        (status(404, "model 'x' not found"), 404),
        (status(503, "busy", Retry_After="3"), 503),
        (status(302, "elsewhere", Location="http://127.0.0.1:1/"), 502),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 502),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Type: a\x01b\r\nContent-Length: 2\r\n\r\n{}"), 200),
        (raw(b"nonsense"), 502),
        (reset, 502),
    ],
    ids=["404", "503", "redirect", "no body", "bad header", "nonsense", "reset"],
)
def test_what_the_upstream_answers_is_handed_back_or_called_bad(stack: Stack, behaviour: Behaviour, seen: int) -> None:
    """Its errors are its own; what is no answer is a bad gateway."""
    stack.upstream.next_generate(behaviour)
    answer = stack.ask("POST", "/api/generate", {"model": "m"})
    assert answer.status == seen
    assert seen == 200 or list(answer.json) == ["error"]


def test_an_answer_that_breaks_off_is_not_taken_for_whole(stack: Stack) -> None:
    """The client's connection breaks off as well."""
    stack.upstream.next_generate(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
    with pytest.raises(http.client.IncompleteRead):
        stack.ask("POST", "/api/generate", {"model": "m"})


def test_an_old_client_is_served(stack: Stack) -> None:
    """HTTP/1.0: no chunks, and the end of the connection is the end of the answer."""
    body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(b"POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        head, _, rest = b"".join(iter(lambda: sock.recv(65_536), b"")).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert [json.loads(line)["message"]["content"] for line in rest.splitlines()] == ["Hello", ", ", "world", "!", ""]


def test_an_upstream_that_is_away_is_a_bad_gateway(own_directory: Path) -> None:
    """502 once the attempts that the client allows are used up; what is handed on says so at once."""
    with Stack(own_directory) as stack:
        stack.upstream.stop()
        answer = stack.ask("POST", "/api/chat", {"model": "m", "messages": MESSAGES, "max_attempts": 1})
        assert (answer.status, answer.json) == (502, {"error": "The upstream refused the connection."})
        assert stack.ask("GET", "/api/tags").status == 502


def test_an_answer_survives_the_loss_of_redis(own_directory: Path) -> None:
    """Text stops flowing, and the rest comes in one line when the job is done."""
    with Stack(own_directory) as stack, official(stack) as client:
        gate = threading.Event()
        stack.upstream.next(after(2, held(gate, the_rest)))
        parts = client.chat("m", messages=MESSAGES, stream=True)
        heard = [next(parts), next(parts)]
        stack.valkey.kill()
        gate.set()
        eventually(stack.upstream.chats[0].ended.is_set, "the upstream has said all")
        stack.valkey.start()
        heard += parts
        assert "".join(part.message.content or "" for part in heard) == "t0 t1 abc"
        assert heard[-1].done is True


def test_an_answer_that_lost_its_worker_ends_with_an_error(own_directory: Path) -> None:
    """What was sent cannot be taken back, so no second run is made of it."""
    with Stack(own_directory) as stack, official(stack) as client:
        stack.upstream.next(after(1, hang), hang)
        parts = client.chat("m", messages=MESSAGES, stream=True)
        assert next(parts).message.content == "t0 "
        stack.kill("jobs")
        stack.start("jobs")
        with pytest.raises(ollama.ResponseError, match="taken back"):
            next(parts)
        [job] = stack.ask("GET", "/jobs").json["jobs"]
        assert stack.until(job["job_id"], "failed")["error"]["code"] == "cancelled"
