from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreman.domain.completion import Completion
from foreman.domain.fault import Fault
from foreman.domain.lifecycle import Cause
from foreman.errors import SettingInvalid
from foreman.net.upstream import Call, make_upstream
from tests import upstream_faults as faults
from tests.openai_calls import completed, connected
from tests.openai_server import (
    LLAMA_CPP,
    LM_STUDIO,
    LOADING,
    FakeOpenAI,
    after,
    chunks,
    delta,
    piece,
    reply,
    say,
    streamed,
    usage,
)
from tests.upstream_calls import CHAT, PAYLOAD, SLACK_S, chat, fault_of


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A server that behaves until it is told not to."""
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def call(server: FakeOpenAI) -> Iterator[Call]:
    """A connected call."""
    with connected(server.url) as connection:
        yield connection


# ------------------------------------------------------------------------------------------------------- what works


def test_a_chat_is_a_completion_like_ollamas(server: FakeOpenAI, call: Call) -> None:
    """Whoever reads the completion, or follows it live, cannot tell which kind of upstream wrote it."""
    written: list[bytes] = []
    server.next(reply("Hel", "lo", thinking=["Hm"], tools=[piece(0, '{"x":', "f", "a"), piece(0, "1}")]))
    outcome = call.chat(PAYLOAD, exec_timeout_s=10, stall_timeout_s=10, on_text=written.append)
    body, seen = completed(outcome), [json.loads(line) for line in written]
    assert body["message"] == {
        "role": "assistant",
        "content": "Hello",
        "thinking": "Hm",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}],
    }
    assert (body["model"], body["done"], body["done_reason"]) == ("m", True, "stop")
    assert (body["prompt_eval_count"], body["eval_count"], body["load_duration"]) == (26, 4, 0)
    assert [line["message"]["content"] for line in seen] == ["", "Hel", "lo", "", ""]
    assert [line["done"] for line in seen] == [False, False, False, False, True]
    assert call.text == "Hello"


def test_durations_are_measured_from_the_request(server: FakeOpenAI, call: Call) -> None:
    """No server tells them in a form of its API, and a client of Ollama computes tokens a second from them."""
    server.next(reply(*"abcd", delay_s=0.05))
    stats = completed(chat(call))
    assert stats["prompt_eval_duration"] >= 0.1 * 1e9
    assert stats["eval_duration"] >= 0.15 * 1e9
    assert stats["total_duration"] >= stats["prompt_eval_duration"] + stats["eval_duration"]


def test_what_is_asked_is_openais(server: FakeOpenAI, call: Call) -> None:
    """The payload is translated, and nothing of Ollama's is left in it."""
    chat(call)
    (received,) = server.chats
    assert received.body == {
        "model": "m",
        "messages": CHAT["messages"],
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert received.headers["Content-Type"] == "application/json"
    assert "Authorization" not in received.headers


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_the_url_may_name_the_version_or_not(server: FakeOpenAI, path: str) -> None:
    """People copy either from the documentation of their server."""
    with connected(server.url + path) as call:
        assert call.load(PAYLOAD, timeout_s=10) is None
        completed(chat(call))
    assert server.paths == ["/v1/models", "/v1/chat/completions"]


def test_a_prefix_before_the_version_is_kept(server: FakeOpenAI) -> None:
    """Behind a proxy a server has one."""
    with connected(f"{server.url}/llm/v1") as call:
        assert fault_of(chat(call)) == (Cause.UPSTREAM_REJECTED, False, True)
    assert server.paths == ["/llm/v1/chat/completions"]


def test_a_key_goes_with_every_request(server: FakeOpenAI) -> None:
    """Both vLLM and llama.cpp can be started with one, and then refuse all who do not know it."""
    with connected(server.url, "sk-secret") as call:
        assert call.load(PAYLOAD, timeout_s=10) is None
        completed(chat(call))
    assert [received.headers["Authorization"] for received in server.calls] == ["Bearer sk-secret"] * 2


@pytest.mark.parametrize(
    ("url", "api_key"),
    [
        ("http://h", "sk secret"),
        ("http://h", "sk-secret\r\nX: y"),
        ("http://h", "sk-geheß"),
        ("http://me:pw@h", "sk-x"),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start(url: str, api_key: str) -> None:
    """One line names the setting, and does not repeat the key."""
    with pytest.raises(SettingInvalid) as raised:
        make_upstream("openai", url, 5, api_key)
    assert raised.value.name == "upstream.api_key"
    assert api_key not in str(raised.value)


def test_load_and_chat_share_a_connection(server: FakeOpenAI) -> None:
    """A second connection would be a second chance to be refused, while loading is looked at as well."""
    server.owner = LLAMA_CPP
    with connected(server.url) as call:
        assert call.load(PAYLOAD, timeout_s=10) is None
        completed(chat(call))
    assert server.paths == ["/v1/models", "/health", "/v1/chat/completions"]
    assert len({received.peer for received in server.calls}) == 1


def test_a_server_that_does_not_stream_is_understood(server: FakeOpenAI, call: Call) -> None:
    """One object is a completion too."""

    def unasked(exchange: Any) -> None:
        exchange.received.body["stream"] = False
        reply("all")(exchange)

    server.next(unasked)
    body = completed(chat(call))
    assert (body["message"]["content"], body["eval_count"]) == ("all", 4)


def test_characters_and_lines_may_be_cut_anywhere(server: FakeOpenAI, call: Call) -> None:
    """A read ends where the network does, in the middle of an emoji or of a line."""

    def in_single_bytes(exchange: Any) -> None:
        data = b"".join(
            b"data: %b\r\n\r\n" % json.dumps(each, ensure_ascii=False).encode() for each in chunks("é", "😀")
        )
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for byte in data:
            exchange.raw(bytes([byte]))
        exchange.close()

    server.next(in_single_bytes)
    assert completed(chat(call))["message"]["content"] == "é😀"


def test_a_job_that_only_loads_asks_for_nothing_but_the_model(server: FakeOpenAI, call: Call) -> None:
    """Empty messages are Ollama's way to load; the answer is Ollama's too."""
    payload = b'{"model":"m","messages":[]}'
    assert call.load(payload, timeout_s=10) is None
    body = completed(call.chat(payload, exec_timeout_s=10, stall_timeout_s=10))
    assert (body["done_reason"], body["message"]["content"]) == ("load", "")
    assert server.paths == ["/v1/models"]


def test_what_cannot_be_expressed_fails_without_a_call(server: FakeOpenAI, call: Call) -> None:
    """The job learns which key it was, and the server is not bothered."""
    payload = json.dumps(CHAT | {"suffix": "}"}).encode()
    for outcome in (
        call.load(payload, timeout_s=10),
        call.chat(payload, exec_timeout_s=10, stall_timeout_s=10),
    ):
        assert fault_of(outcome) == (Cause.UPSTREAM_REJECTED, False, False)
        assert isinstance(outcome, Fault)
        assert "/suffix" in outcome.message
    assert server.calls == []


# ------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("owner", [LLAMA_CPP, "proxy"])
def test_a_load_lasts_until_the_server_has_the_model(server: FakeOpenAI, call: Call, owner: str) -> None:
    """llama.cpp listens before it has read its model, and lists it then already."""
    server.owner, server.loading = owner, True
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(call.load(PAYLOAD, timeout_s=30)))
    thread.start()
    server.wait_for(lambda: len(server.paths) >= 3)
    assert outcome == []
    server.loading = False
    thread.join(10)
    assert outcome == [None]


def test_a_model_that_is_not_listed_is_not_there(server: FakeOpenAI, call: Call) -> None:
    """LM Studio answers for a model it does not know with another one; its list is believed, and so is vLLM's."""
    for server.owner in ("vllm", LM_STUDIO):
        server.models = {"other"}
        assert fault_of(call.load(PAYLOAD, timeout_s=10)) == (Cause.MODEL_NOT_FOUND, False, True)
    server.owner = LLAMA_CPP
    assert call.load(PAYLOAD, timeout_s=10) is None, "it takes any name"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.status(401), (Cause.UPSTREAM_REJECTED, False, True)),
        (faults.status(500), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.status(503, "no backend"), (Cause.UPSTREAM_ERROR, True, False)),
        (faults.reset, (Cause.UPSTREAM_UNREACHABLE, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"), (Cause.TRUNCATED, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000_000), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), (Cause.UPSTREAM_ERROR, True, True)),
    ],
    ids=["401", "500", "503", "reset", "short body", "endless list", "SSH"],
)
def test_each_fault_of_a_load_is_told_apart(
    server: FakeOpenAI, call: Call, behaviour: Any, expected: tuple[Cause, bool, bool]
) -> None:
    """A server that is ill is found out before the job is working."""
    server.next_load(behaviour)
    assert fault_of(call.load(PAYLOAD, timeout_s=10)) == expected


@pytest.mark.parametrize(
    "behaviour",
    [faults.status(404), faults.status(405), lambda exchange: exchange.answer(200, b"<html>")],
    ids=["404", "405", "page"],
)
def test_a_server_without_a_list_may_still_have_the_model(server: FakeOpenAI, call: Call, behaviour: Any) -> None:
    """The list is no part of what a chat needs."""
    server.next_load(behaviour)
    assert call.load(PAYLOAD, timeout_s=10) is None
    completed(chat(call))


@pytest.mark.parametrize("behaviour", [None, faults.hang, faults.drip(b"H", 0.02)])
def test_a_load_ends_at_its_deadline(server: FakeOpenAI, call: Call, behaviour: Any) -> None:
    """Loading for ever, silent, or dripping: it holds its slot no longer than it was given."""
    server.loading = True
    server.next_load(*([behaviour] if behaviour else []))
    started = time.monotonic()
    assert fault_of(call.load(PAYLOAD, timeout_s=1.5)) == (Cause.LOAD_TIMEOUT, True, True)
    assert time.monotonic() - started < 1.5 + SLACK_S


# ------------------------------------------------------------------------------------------------------- faults


def test_a_refused_connection_is_known_before_anything_is_sent(server: FakeOpenAI) -> None:
    """The job stays queued: the fault has not begun."""
    server.stop()
    upstream = make_upstream("openai", server.url, 5)
    assert fault_of(upstream.connect()) == (Cause.UPSTREAM_UNREACHABLE, True, False)


def failing(error: Any) -> Any:
    """Some text, then ``error`` as an event, then the end that vLLM writes all the same."""
    return streamed(delta("t0 "), {"error": error}, b"[DONE]")


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.status(400, {"message": "too long", "code": 400}), (Cause.UPSTREAM_REJECTED, False, True)),
        (faults.status(404, {"message": "The model `m` does not exist."}), (Cause.MODEL_NOT_FOUND, False, True)),
        (faults.status(400, {"message": "?", "code": "model_not_found"}), (Cause.MODEL_NOT_FOUND, False, True)),
        (faults.status(404), (Cause.UPSTREAM_REJECTED, False, True)),
        (faults.status(429), (Cause.UPSTREAM_ERROR, True, False)),
        (faults.status(500), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.status(503, LOADING["error"]), (Cause.UPSTREAM_ERROR, True, False)),
        (faults.reset, (Cause.UPSTREAM_UNREACHABLE, True, True)),
        (after([], faults.reset), (Cause.UPSTREAM_UNREACHABLE, True, True)),
        (after([delta("t0 ")], faults.reset), (Cause.TRUNCATED, True, True)),
        (streamed(), (Cause.TRUNCATED, True, True)),
        (streamed(delta("t0 ")), (Cause.TRUNCATED, True, True)),
        (streamed(delta("t0 "), usage(), b"[DONE]"), (Cause.TRUNCATED, True, True)),
        (streamed(delta("t0 ", "abort"), usage(), b"[DONE]"), (Cause.TRUNCATED, True, True)),
        (failing({"message": "out of memory", "code": 500}), (Cause.UPSTREAM_ERROR, True, True)),
        (failing({"message": "too long", "code": 400}), (Cause.UPSTREAM_REJECTED, False, True)),
        (failing("model 'm' not found"), (Cause.MODEL_NOT_FOUND, False, True)),
        (streamed(b"oops"), (Cause.UPSTREAM_ERROR, True, True)),
        (streamed(b"\xff\xfe"), (Cause.UPSTREAM_ERROR, True, True)),
        (streamed(*chunks(tools=[piece(0, "{", "f")])), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}\n"), (Cause.TRUNCATED, True, True)),
    ],
    ids=[
        "400",
        "404 model",
        "400 model",
        "404",
        "429",
        "500",
        "503",
        "reset",
        "reset after head",
        "reset in text",
        "empty stream",
        "no reason",
        "no reason but done",
        "aborted",
        "error event",
        "error event 400",
        "error event model",
        "not JSON",
        "not UTF-8",
        "bad arguments",
        "short body",
    ],
)
def test_each_fault_of_a_chat_is_told_apart(
    server: FakeOpenAI, call: Call, behaviour: Any, expected: tuple[Cause, bool, bool]
) -> None:
    """The same classes as for Ollama: whether to retry, and what the job's error says."""
    server.next(behaviour)
    assert fault_of(chat(call)) == expected


def test_text_that_had_come_is_kept_after_a_fault(server: FakeOpenAI, call: Call) -> None:
    """What a job had when it failed can still be of use to somebody."""
    server.next(after([delta("t0 "), delta("t1 ")], faults.reset))
    assert isinstance(chat(call), Fault)
    assert call.text == "t0 t1 "


def test_a_line_without_an_end_is_given_up(server: FakeOpenAI, call: Call) -> None:
    """A server that forgot its line breaks must not take the worker's memory."""

    def endless(exchange: Any) -> None:
        say(exchange, [])
        while True:
            exchange.chunk(b"data:" + b"x" * 2**20)

    server.next(endless)
    assert fault_of(chat(call)) == (Cause.UPSTREAM_ERROR, True, True)


# ------------------------------------------------------------------------------------------------------- probing


def test_a_probe_tells_whether_the_upstream_answers(server: FakeOpenAI) -> None:
    """Readiness: up, loading, erring, and refusing."""
    upstream = make_upstream("openai", f"{server.url}/v1", 5)
    assert upstream.probe(5) is None
    server.loading = True
    assert fault_of(upstream.probe(5)) == (Cause.UPSTREAM_ERROR, True, False)
    assert fault_of(make_upstream("openai", f"{server.url}/x", 5).probe(5)) == (Cause.UPSTREAM_ERROR, True, False)
    server.stop()
    assert fault_of(upstream.probe(5)) == (Cause.UPSTREAM_UNREACHABLE, True, False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary() | st.binary().map(lambda tail: b"HTTP/1.1 200 OK\r\n\r\n" + tail))
def test_no_bytes_do_anything_but_end_in_a_value(server: FakeOpenAI, data: bytes) -> None:
    """Whatever is sent in place of a list or of an answer, nothing is raised."""
    server.next_load(faults.raw(data))
    server.next(faults.raw(data))
    with connected(server.url) as call:
        assert isinstance(call.load(PAYLOAD, timeout_s=5), Fault | None)
        assert isinstance(chat(call, exec_timeout_s=5), Completion | Fault)
