from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from foreman.domain import fault
from foreman.domain.completion import Completion
from foreman.domain.fault import FIRST_TEXT_PATIENCE, Aborted, Fault
from foreman.domain.lifecycle import Cause
from foreman.net import call as client
from foreman.net.upstream import Call, Upstream
from tests import upstream_faults as faults
from tests.receiver import CERTIFICATE, server_tls
from tests.upstream import FakeOllama, reply
from tests.upstream_calls import PAYLOAD, SLACK_S, chat, connected, fault_of, full_backlog


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


# ------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "behaviour",
    [
        faults.hang,
        faults.after(1, faults.hang),
        faults.drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
        faults.drip(b"H", 0.02),
        faults.after(1, faults.drip(b"1\r\n \r\n", 0.02)),
        faults.after(1, faults.drip(b"0", 0.02)),
        faults.after(10_000, faults.end, delay_s=0.02),
    ],
    ids=["silent", "silent later", "endless 100", "endless head", "dripped spaces", "endless size", "slow tokens"],
)
def test_a_chat_ends_at_its_deadline_whatever_the_server_does(ollama: FakeOllama, call: Call, behaviour: Any) -> None:
    """A byte now and then resets a socket timeout for ever; the wall clock decides."""
    ollama.next(behaviour)
    started = time.monotonic()
    assert fault_of(chat(call, exec_timeout_s=1.5)) == (Cause.EXEC_TIMEOUT, False, True)
    assert time.monotonic() - started < 1.5 + SLACK_S


def test_an_upstream_that_falls_silent_is_stalled(ollama: FakeOllama, call: Call) -> None:
    """After the first text the clock starts again with every byte, and allows the timeout itself and no more."""
    ollama.next(faults.after(3, faults.hang, delay_s=0.1))
    started = time.monotonic()
    stalled = chat(call, stall_timeout_s=2)
    assert fault_of(stalled) == (Cause.STALLED, True, True)
    assert stalled == fault.stalled(2)
    assert 2 < time.monotonic() - started < 2 * FIRST_TEXT_PATIENCE


def test_an_upstream_that_never_says_anything_is_stalled(ollama: FakeOllama, call: Call) -> None:
    """The patience with a long prompt ends as well, and the message says how long it was."""
    ollama.next(faults.hang)
    started = time.monotonic()
    assert chat(call, stall_timeout_s=0.1) == fault.stalled(0.1 * FIRST_TEXT_PATIENCE)
    took_s = time.monotonic() - started
    assert 0.1 * FIRST_TEXT_PATIENCE <= took_s < 0.1 * FIRST_TEXT_PATIENCE + SLACK_S


@pytest.mark.parametrize("head_first", [False, True], ids=["nothing", "the head"])
def test_a_long_prompt_is_no_stall(ollama: FakeOllama, call: Call, *, head_first: bool) -> None:
    """A silence of twice the timeout before the first text, with or without a head before it, is waited out."""

    def behave(exchange: Any) -> None:
        if head_first:
            exchange.begin()
        exchange.pause(2.0)
        if not head_first:
            exchange.begin()
        exchange.line(exchange.part({"content": "a"}, done=True))
        exchange.end()

    ollama.next(behave)
    assert isinstance(chat(call, stall_timeout_s=1), Completion)


def test_the_patience_with_a_prompt_ends_with_the_call(ollama: FakeOllama, call: Call) -> None:
    """The deadline of the whole call comes first where it is shorter."""
    ollama.next(faults.hang)
    assert fault_of(chat(call, exec_timeout_s=1.5, stall_timeout_s=1)) == (Cause.EXEC_TIMEOUT, False, True)


def test_an_answer_that_came_whole_is_read_from_a_closed_connection(ollama: FakeOllama, call: Call) -> None:
    """A server that says everything at once and hangs up leaves no socket whose patience could be shortened."""

    def behave(exchange: Any) -> None:
        lines = [exchange.part({"content": "a"}), exchange.part({}, done=True)]
        exchange.answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines), {"Connection": "close"})
        exchange.close()

    ollama.next(behave)
    assert isinstance(chat(call), Completion)


def test_slow_tokens_are_no_stall(ollama: FakeOllama, call: Call) -> None:
    """A chat may take longer than the stall timeout, as long as something comes."""
    ollama.next(reply(*"abcdefgh", delay_s=0.4))
    assert isinstance(chat(call, stall_timeout_s=2), Completion)


@pytest.mark.parametrize("behaviour", [faults.hang, faults.drip(b"H", 0.02)])
def test_a_load_ends_at_its_deadline(ollama: FakeOllama, call: Call, behaviour: Any) -> None:
    """A model that never loads holds its slot no longer than it was given, dripping or silent."""
    ollama.next_load(behaviour)
    started = time.monotonic()
    assert fault_of(call.load(PAYLOAD, timeout_s=1.5)) == (Cause.LOAD_TIMEOUT, True, True)
    assert time.monotonic() - started < 1.5 + SLACK_S


def test_the_body_of_an_error_is_not_waited_for(ollama: FakeOllama, call: Call) -> None:
    """The status has decided; a server that never finishes its excuse does not hold the slot."""
    ollama.next(never_finished)
    started = time.monotonic()
    outcome = chat(call, exec_timeout_s=60, stall_timeout_s=60)
    assert isinstance(outcome, Fault)
    assert (outcome.upstream_status, outcome.cause) == (500, Cause.UPSTREAM_ERROR)
    assert time.monotonic() - started < client.ERROR_LIMIT_S + SLACK_S


def never_finished(exchange: Any) -> None:
    """An error whose body drips."""
    exchange.raw(b"HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\n")
    faults.drip(b"x", 0.05)(exchange)


def test_an_answer_that_is_done_is_not_held_up_by_what_follows(ollama: FakeOllama, call: Call) -> None:
    """A server that keeps the stream open after ``"done": true`` costs no time, and the next call a new connection."""

    def lingering(exchange: Any) -> None:
        exchange.begin()
        exchange.line(exchange.part({}, done=True))
        faults.hang(exchange)

    ollama.next_load(lingering)
    started = time.monotonic()
    assert call.load(PAYLOAD, timeout_s=30) is None
    assert isinstance(chat(call), Completion)
    assert time.monotonic() - started < 2 * SLACK_S
    assert len({received.peer for received in ollama.calls}) == 2


# ------------------------------------------------------------------------------------------------------- aborting


@pytest.mark.parametrize(
    "behaviour",
    [faults.hang, faults.after(2, faults.hang), faults.drip(b"H", 0.02)],
    ids=["before the head", "in the middle", "dripped"],
)
def test_an_abort_ends_a_chat_at_once(ollama: FakeOllama, call: Call, behaviour: Any) -> None:
    """Before the head, in the middle of the text, or while bytes drip: the call returns, and the server sees it go."""
    ollama.next(behaviour)
    outcome, took_s = aborted_after(lambda: len(ollama.chats) == 1, ollama, call, lambda: chat(call))
    assert isinstance(outcome, Aborted)
    assert took_s < SLACK_S
    assert ollama.chats[0].ended.wait(60)
    assert ollama.chats[0].hung_up


def test_an_abort_ends_a_load_at_once(ollama: FakeOllama, call: Call) -> None:
    """A model of many gigabytes loads for minutes, and whoever cancels does not want to wait for it."""
    ollama.load_delay_s = 30
    outcome, took_s = aborted_after(
        lambda: len(ollama.loads) == 1, ollama, call, lambda: call.load(PAYLOAD, timeout_s=60)
    )
    assert isinstance(outcome, Aborted)
    assert took_s < SLACK_S


def aborted_after(condition: Any, ollama: FakeOllama, call: Call, act: Any) -> tuple[object, float]:
    """What ``act`` returns when the call is aborted once ``condition`` holds, and how long after that."""
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(act()))
    thread.start()
    ollama.wait_for(condition)
    started = time.monotonic()
    call.abort()
    thread.join(10)
    return outcome[0], time.monotonic() - started


def test_an_abort_ends_a_connection_in_the_making() -> None:
    """A cancel must not wait for a machine that does not answer."""
    with full_backlog() as port, Upstream(f"http://127.0.0.1:{port}", 30).call() as call:
        timer = threading.Timer(0.1, call.abort)
        timer.start()
        started = time.monotonic()
        assert isinstance(call.connect(), Aborted)
        assert time.monotonic() - started < 0.1 + SLACK_S
        timer.join()


def test_nothing_begins_after_an_abort(ollama: FakeOllama, call: Call) -> None:
    """An abort that comes between two calls counts for the next one, and again and again."""
    call.abort()
    call.abort()
    assert isinstance(call.load(PAYLOAD, timeout_s=10), Aborted)
    assert isinstance(chat(call), Aborted)
    assert isinstance(call.connect(), Aborted)
    assert isinstance(call.load(b'{"model":"m","messages":[],"keep_alive":0}', timeout_s=10), Aborted)
    assert ollama.calls == []


def test_an_abort_in_the_middle_of_the_text_reads_no_further(ollama: FakeOllama, call: Call) -> None:
    """What had already arrived is not handed on any more."""
    seen: list[bytes] = []

    def stop_at_the_first(line: bytes) -> None:
        seen.append(line)
        call.abort()

    ollama.next(reply(*"abcdefgh"))
    outcome = call.chat(PAYLOAD, exec_timeout_s=10, stall_timeout_s=10, on_text=stop_at_the_first)
    assert isinstance(outcome, Aborted)
    assert len(seen) == 1


def test_an_abort_and_a_deadline_work_through_tls() -> None:
    """Wrapping a socket in TLS detaches it; what watches it must hold on to the connection itself."""
    with FakeOllama(tls=server_tls()) as ollama:
        upstream = Upstream(ollama.url, 5, tls=ssl.create_default_context(cafile=CERTIFICATE))
        ollama.next(faults.after(1, faults.hang), faults.after(1, faults.drip(b"0", 0.02)))
        with upstream.call() as call:
            outcome, took_s = aborted_after(lambda: len(ollama.chats) == 1, ollama, call, lambda: chat(call))
            assert isinstance(outcome, Aborted)
            assert took_s < SLACK_S
        with upstream.call() as call:
            assert fault_of(chat(call, exec_timeout_s=1.5)) == (Cause.EXEC_TIMEOUT, False, True)
