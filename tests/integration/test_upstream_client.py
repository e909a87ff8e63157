from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
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
from foreman.net.upstream import Call, Upstream
from tests import upstream_faults as faults
from tests.receiver import CERTIFICATE, server_tls
from tests.upstream import FakeOllama, reply
from tests.upstream_calls import CHAT, PAYLOAD, SLACK_S, chat, connected, fault_of, full_backlog


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    """A model server that behaves until it is told not to."""
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def call(ollama: FakeOllama) -> Iterator[Call]:
    """A connected call."""
    with connected(ollama) as connection:
        yield connection


# ------------------------------------------------------------------------------------------------------- what works


def test_a_chat_is_assembled_from_its_stream(ollama: FakeOllama, call: Call) -> None:
    """The completion holds every token in order, the stats of the last line, and each line was seen as it came."""
    seen: list[bytes] = []
    ollama.next(reply("Hel", "lo", thinking=["Hm"], tool_calls=[{"function": {"name": "f", "arguments": {}}}]))
    outcome = call.chat(
        PAYLOAD,
        exec_timeout_s=10,
        stall_timeout_s=10,
        on_text=seen.append,
    )
    assert isinstance(outcome, Completion)
    message = json.loads(outcome.body)["message"]
    assert (message["content"], message["thinking"], len(message["tool_calls"])) == ("Hello", "Hm", 1)
    assert outcome.stats["eval_count"] == 4
    assert [json.loads(line)["message"]["content"] for line in seen] == ["", "Hel", "lo", "", ""]
    assert call.text == "Hello"


def test_the_payload_arrives_with_stream_and_nothing_else_added(ollama: FakeOllama, call: Call) -> None:
    """What a client submitted is what the model server gets."""
    chat(call)
    (received,) = ollama.chats
    assert received.body == CHAT | {"stream": True}
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Host"] == f"127.0.0.1:{ollama.port}"


def test_connecting_sends_nothing(ollama: FakeOllama, call: Call) -> None:
    """A job leaves queued only after the connection is open, and nothing may have been asked for by then."""
    ollama.wait_for(lambda: len(ollama.connections) == 1)
    assert ollama.calls == []
    chat(call)
    assert len(ollama.calls) == 1


def test_load_and_chat_share_a_connection(ollama: FakeOllama, call: Call) -> None:
    """A second connection would be a second chance to be refused."""
    assert call.load(PAYLOAD, timeout_s=10) is None
    assert isinstance(chat(call), Completion)
    assert [received.is_load for received in ollama.calls] == [True, False]
    assert len({received.peer for received in ollama.calls}) == 1
    assert ollama.loads[0].body == {"model": "m", "options": {"seed": 1}, "messages": [], "stream": False}


def test_a_connection_that_the_server_closed_is_opened_again(ollama: FakeOllama, call: Call) -> None:
    """A server that keeps no connections, or none that were idle, is no fault."""
    ollama.next_load(closing)
    assert call.load(PAYLOAD, timeout_s=10) is None
    assert isinstance(chat(call), Completion)
    ollama.next_load(closing_unannounced)
    assert call.load(PAYLOAD, timeout_s=10) is None
    ollama.wait_for(lambda: not ollama.connections)
    assert isinstance(chat(call), Completion)
    assert len({received.peer for received in ollama.calls}) == 4 - 1


def closing(exchange: Any) -> None:
    """A loaded model, and the end of the connection as the header said."""
    exchange.answer(200, exchange.part({}, done_reason="load", done=True), {"Connection": "close"})
    exchange.close()


def closing_unannounced(exchange: Any) -> None:
    """A loaded model, and the end of the connection without a word."""
    exchange.answer(200, exchange.part({}, done_reason="load", done=True))
    exchange.close()


def test_a_load_lasts_as_long_as_the_model_takes(ollama: FakeOllama, call: Call) -> None:
    """``loading`` ends when the model is in memory for real."""
    ollama.load_delay_s = 0.2
    started = time.monotonic()
    assert call.load(PAYLOAD, timeout_s=10) is None
    assert time.monotonic() - started >= 0.2
    assert "m" in ollama.loaded


def test_an_upstream_below_a_path_with_a_password_is_reached(ollama: FakeOllama) -> None:
    """Behind a proxy the model server has a prefix, and the proxy wants to know who calls."""
    url = f"http://me:p%40ss@127.0.0.1:{ollama.port}/ollama/"
    call = Upstream(url, 5).connect()
    assert isinstance(call, Call)
    with call:
        assert fault_of(chat(call)) == (Cause.UPSTREAM_REJECTED, False, True)
    (received,) = ollama.calls
    assert received.path == "/ollama/api/chat"
    assert base64.b64decode(received.headers["Authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert received.headers["Host"] == f"127.0.0.1:{ollama.port}"


def test_no_proxy_is_taken_from_the_environment(ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator named the upstream; a proxy meant for other programs would see every prompt."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with connected(ollama) as call:
        assert isinstance(chat(call), Completion)


def test_a_server_that_does_not_stream_is_understood(ollama: FakeOllama, call: Call) -> None:
    """One object with a length, or up to the end of the connection, is a completion too."""
    whole = b'{"message":{"role":"assistant","content":"all"},"done":true}'
    ollama.next(faults.raw(b"HTTP/1.0 200 OK\r\n\r\n" + whole), lambda exchange: exchange.answer(200, whole))
    assert isinstance(chat(call), Completion)
    assert isinstance(chat(call), Completion)


def test_an_upstream_behind_tls_is_reached_if_its_certificate_names_it() -> None:
    """Prompts are not shown to whoever answers at the address."""
    with FakeOllama(tls=server_tls()) as ollama:
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        call = Upstream(ollama.url, 5, tls=trusting).connect()
        assert isinstance(call, Call)
        with call:
            assert call.load(PAYLOAD, timeout_s=10) is None
            assert isinstance(chat(call), Completion)
        assert len({received.peer for received in ollama.calls}) == 1
        distrusting = Upstream(ollama.url, 5).connect()
        assert fault_of(distrusting) == (Cause.UPSTREAM_UNREACHABLE, True, False)
        misnamed = Upstream(ollama.url.replace("127.0.0.1", "127.0.0.2"), 5, tls=trusting).connect()
        assert fault_of(misnamed) == (Cause.UPSTREAM_UNREACHABLE, True, False)
        assert len(ollama.chats) == 1


def test_a_tls_handshake_that_never_ends_is_a_connection_that_was_not_accepted() -> None:
    """The bound on connecting holds for all that comes before the request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        outcome = Upstream(f"https://127.0.0.1:{listener.getsockname()[1]}", 0.3).connect()
        assert isinstance(outcome, Fault)
        assert outcome.message == "The upstream did not accept the connection in time."
        assert time.monotonic() - started < 0.3 + SLACK_S


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:11434",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999",
        "http://me:secret@h/?q",
        "http://h/\r\nX: y",
    ],
)
def test_a_url_that_cannot_be_used_stops_the_start(url: str) -> None:
    """One line names the setting, and does not repeat a URL that may hold a password."""
    with pytest.raises(SettingInvalid) as raised:
        Upstream(url, 5)
    assert raised.value.name == "upstream.url"
    assert "secret" not in str(raised.value)


# ------------------------------------------------------------------------------------------------------- faults


def test_a_refused_connection_is_known_before_anything_is_sent(ollama: FakeOllama) -> None:
    """The job stays queued: the fault has not begun."""
    ollama.stop()
    assert fault_of(Upstream(ollama.url, 5).connect()) == (Cause.UPSTREAM_UNREACHABLE, True, False)
    ollama.start()
    with connected(ollama) as call:
        assert isinstance(chat(call), Completion)


def test_a_name_that_does_not_exist_is_a_refused_connection() -> None:
    """DNS may be mended, so the job waits."""
    outcome = Upstream("http://no-such-host.invalid:11434", 5).connect()
    assert fault_of(outcome) == (Cause.UPSTREAM_UNREACHABLE, True, False)
    assert isinstance(outcome, Fault)
    assert "no-such-host" not in outcome.message


def test_a_server_that_does_not_accept_is_given_up_in_time() -> None:
    """A machine that is down answers nothing at all."""
    started = time.monotonic()
    with full_backlog() as port:
        outcome = Upstream(f"http://127.0.0.1:{port}", 0.3).connect()
    assert fault_of(outcome) == (Cause.UPSTREAM_UNREACHABLE, True, False)
    assert time.monotonic() - started < 0.3 + SLACK_S


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (faults.status(400), (Cause.UPSTREAM_REJECTED, False, True)),
        (faults.status(404, "model 'm' not found"), (Cause.MODEL_NOT_FOUND, False, True)),
        (faults.status(429), (Cause.UPSTREAM_REJECTED, False, True)),
        (faults.status(500), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.status(503), (Cause.UPSTREAM_ERROR, True, False)),
        (faults.status(500, b"<html>"), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.status(302, b"", Location="http://127.0.0.1:9/"), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.reset, (Cause.UPSTREAM_UNREACHABLE, True, True)),
        (faults.after(0, faults.reset), (Cause.UPSTREAM_UNREACHABLE, True, True)),
        (faults.after(2, faults.reset), (Cause.TRUNCATED, True, True)),
        (faults.after(0, faults.end), (Cause.TRUNCATED, True, True)),
        (faults.after(2, faults.end), (Cause.TRUNCATED, True, True)),
        (faults.after(2, faults.error_line("out of memory")), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.after(0, faults.error_line("model 'm' not found")), (Cause.MODEL_NOT_FOUND, False, True)),
        (faults.after(1, faults.garbage(b"oops\n")), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.after(1, faults.garbage(b"\xff\xfe\n")), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.after(1, faults.garbage(b'{"done":tr')), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000), (Cause.UPSTREAM_ERROR, True, True)),
        (faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}\n"), (Cause.TRUNCATED, True, True)),
        (faults.raw(b""), (Cause.UPSTREAM_UNREACHABLE, True, True)),
    ],
    ids=[
        "400",
        "404 model",
        "429",
        "500",
        "503",
        "500 page",
        "302",
        "reset",
        "reset after head",
        "reset in text",
        "empty stream",
        "no done",
        "error line",
        "error line model",
        "not JSON",
        "not UTF-8",
        "cut JSON",
        "SSH",
        "many headers",
        "long header",
        "short body",
        "nothing",
    ],
)
def test_each_fault_of_a_chat_is_told_apart(
    ollama: FakeOllama, call: Call, behaviour: Any, expected: tuple[Cause, bool, bool]
) -> None:
    """Whether the job is retried, and what its error says, depends on telling these from one another."""
    ollama.next(behaviour)
    assert fault_of(chat(call)) == expected


def test_a_fault_says_what_the_upstream_said(ollama: FakeOllama, call: Call) -> None:
    """Status, words and the hint when to come back are kept."""
    ollama.next(faults.status(503, "server busy", Retry_After="7"))
    outcome = chat(call)
    assert isinstance(outcome, Fault)
    assert (outcome.upstream_status, outcome.retry_after_s) == (503, 7)
    assert outcome.message == "The upstream answered 503: server busy"


def test_a_failed_load_is_told_like_a_failed_chat(ollama: FakeOllama, call: Call) -> None:
    """A model that is not there, or does not fit into memory, is found out while loading."""
    ollama.next_load(faults.status(404, "model 'm' not found"), faults.status(500), faults.after(0, faults.end))
    assert fault_of(call.load(PAYLOAD, timeout_s=10)) == (Cause.MODEL_NOT_FOUND, False, True)
    assert fault_of(call.load(PAYLOAD, timeout_s=10)) == (Cause.UPSTREAM_ERROR, True, True)
    assert fault_of(call.load(PAYLOAD, timeout_s=10)) == (Cause.TRUNCATED, True, True)


def test_text_that_had_come_is_kept_after_a_fault(ollama: FakeOllama, call: Call) -> None:
    """What a job had when it failed can still be of use to somebody."""
    ollama.next(faults.after(2, faults.reset))
    assert isinstance(chat(call), Fault)
    assert call.text == "t0 t1 "


def test_a_server_that_refuses_a_body_without_reading_it_is_heard(ollama: FakeOllama) -> None:
    """A proxy with a limit answers 413 and closes; what it said counts, not that the rest could not be sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse_unread, args=(listener,), daemon=True)
        refusing.start()
        call = Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}", 5).connect()
        assert isinstance(call, Call)
        with call:
            outcome = call.chat(b'{"x":"' + b"y" * 20_000_000 + b'"}', exec_timeout_s=10, stall_timeout_s=10)
        refusing.join()
    assert fault_of(outcome) == (Cause.UPSTREAM_REJECTED, False, True)


def refuse_unread(listener: socket.socket) -> None:
    """Answer 413 to the head of a request, and take no more of it."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("encoded", [gzip.compress(b'{"done":true}'), b"\x1f\x8b"], ids=["whole", "cut"])
def test_a_compressed_answer_is_not_decompressed(ollama: FakeOllama, call: Call, encoded: bytes) -> None:
    """Compression was not asked for, and a few bytes could become gigabytes."""
    ollama.next(lambda exchange: exchange.answer(200, encoded, {"Content-Encoding": "gzip"}))
    assert fault_of(chat(call)) == (Cause.UPSTREAM_ERROR, True, True)


def test_a_line_without_an_end_is_given_up(ollama: FakeOllama, call: Call) -> None:
    """A server that forgot its line breaks must not take the worker's memory."""

    def endless(exchange: Any) -> None:
        exchange.begin()
        while True:
            exchange.chunk(b"x" * 2**20)

    ollama.next(endless)
    assert fault_of(chat(call)) == (Cause.UPSTREAM_ERROR, True, True)


# ------------------------------------------------------------------------------------------------------- probing


def test_a_probe_tells_whether_the_upstream_answers(ollama: FakeOllama) -> None:
    """Readiness: up, refusing, erring, and silent."""
    upstream = Upstream(ollama.url, 5)
    assert upstream.probe(5) is None
    assert fault_of(Upstream(f"{ollama.url}/nowhere", 5).probe(5)) == (Cause.UPSTREAM_REJECTED, False, True)
    ollama.stop()
    assert fault_of(upstream.probe(5)) == (Cause.UPSTREAM_UNREACHABLE, True, False)


def test_a_probe_is_bounded() -> None:
    """A server that accepts and says nothing does not hold up ``/readyz``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        outcome = Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}", 5).probe(0.3)
        assert fault_of(outcome) == (Cause.UPSTREAM_UNREACHABLE, True, False)
        assert time.monotonic() - started < 0.3 + SLACK_S


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary() | st.binary().map(lambda tail: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tail))
def test_no_bytes_do_anything_but_end_in_a_value(ollama: FakeOllama, data: bytes) -> None:
    """Whatever is sent in place of an answer, nothing is raised."""
    ollama.next(faults.raw(data))
    with connected(ollama) as call:
        assert isinstance(chat(call, exec_timeout_s=5), Completion | Fault)
