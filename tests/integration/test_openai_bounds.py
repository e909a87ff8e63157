from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from foreman.domain import fault
from foreman.domain.completion import Completion
from foreman.domain.fault import FIRST_TEXT_PATIENCE, Aborted
from foreman.domain.lifecycle import Cause
from foreman.net.upstream import Call, make_upstream
from tests import upstream_faults as faults
from tests.openai_calls import completed, connected
from tests.openai_server import (
    FakeOpenAI,
    after,
    chunks,
    delta,
    event,
    say,
)
from tests.upstream_calls import PAYLOAD, SLACK_S, chat, fault_of, full_backlog


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


# ------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "behaviour",
    [
        faults.hang,
        after([delta("a")], faults.drip(b"3\r\n: \n\r\n", 0.02)),
        after([delta("a")] * 10_000, faults.hang, 0.02),
    ],
    ids=["silent", "dripped comments", "slow tokens"],
)
def test_a_chat_ends_at_its_deadline_whatever_the_server_does(server: FakeOpenAI, call: Call, behaviour: Any) -> None:
    """The wall clock decides, comments or not."""
    server.next(behaviour)
    started = time.monotonic()
    assert fault_of(chat(call, exec_timeout_s=1.5)) == (Cause.EXEC_TIMEOUT, False, True)
    assert time.monotonic() - started < 1.5 + SLACK_S


def test_a_silent_upstream_is_stalled_and_a_comment_is_not_silence(server: FakeOpenAI, call: Call) -> None:
    """Servers send comments while they read a long prompt: bytes, but no text."""

    def commenting(exchange: Any) -> None:
        say(exchange, [])
        for _ in range(12):
            exchange.pause(0.1)
            exchange.chunk(b": keep-alive\n\n")
        for value in chunks("a"):
            event(exchange, value)
        exchange.end()

    server.next(commenting, after([delta("a")], faults.hang))
    assert isinstance(chat(call, stall_timeout_s=1), Completion)
    with connected(server.url) as other:
        assert chat(other, stall_timeout_s=0.2) == fault.stalled(0.2)


def test_a_role_without_text_is_not_the_end_of_a_long_prompt(server: FakeOpenAI, call: Call) -> None:
    """Some servers say who will speak and then read the prompt: patience lasts until there is text."""
    server.next(after([{"role": "assistant", "content": ""}], faults.hang))
    assert chat(call, stall_timeout_s=0.1) == fault.stalled(0.1 * FIRST_TEXT_PATIENCE)


def test_an_answer_that_is_done_is_not_held_up_by_what_follows(server: FakeOpenAI, call: Call) -> None:
    """A server that never says ``[DONE]``, nor ends, costs no time once all is told."""
    server.next(after(chunks("a"), faults.hang))
    started = time.monotonic()
    completed(chat(call, stall_timeout_s=30))
    assert time.monotonic() - started < SLACK_S


# ------------------------------------------------------------------------------------------------------- aborting


@pytest.mark.parametrize(
    "behaviour",
    [faults.hang, after([delta("a")], faults.hang), after([], faults.drip(b"3\r\n: \n\r\n", 0.02))],
    ids=["before the head", "in the middle", "dripped comments"],
)
def test_an_abort_ends_a_chat_at_once(server: FakeOpenAI, call: Call, behaviour: Any) -> None:
    """The call returns, and the server sees it go and stops generating."""
    server.next(behaviour)
    outcome, took_s = aborted_once(lambda: len(server.chats) == 1, server, call, lambda: chat(call))
    assert isinstance(outcome, Aborted)
    assert took_s < SLACK_S
    assert server.chats[0].ended.wait(60)
    assert server.chats[0].hung_up


def test_an_abort_ends_a_load_during_a_look(server: FakeOpenAI, call: Call) -> None:
    """A server may take its time with its list, and whoever cancels does not want to wait for it."""
    server.next_load(faults.hang)
    outcome, took_s = aborted_once(
        lambda: len(server.calls) == 1, server, call, lambda: call.load(PAYLOAD, timeout_s=60)
    )
    assert isinstance(outcome, Aborted)
    assert took_s < SLACK_S


def test_an_abort_ends_a_load_between_two_looks(server: FakeOpenAI, call: Call) -> None:
    """Then nothing is blocked that could be shut down; the fourth look is followed by a pause of two seconds."""
    server.loading = True
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(call.load(PAYLOAD, timeout_s=60)))
    thread.start()
    server.wait_for(lambda: len(server.calls) == 4)
    assert server.calls[3].ended.wait(60)
    started = time.monotonic()
    call.abort()
    thread.join(10)
    assert time.monotonic() - started < 1.5
    assert isinstance(outcome[0], Aborted)
    assert len(server.calls) == 4


def aborted_once(condition: Any, server: FakeOpenAI, call: Call, act: Any) -> tuple[object, float]:
    """What ``act`` returns when the call is aborted once ``condition`` holds, and how long after that."""
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(act()))
    thread.start()
    server.wait_for(condition)
    started = time.monotonic()
    call.abort()
    thread.join(10)
    return outcome[0], time.monotonic() - started


def test_an_abort_ends_a_connection_in_the_making() -> None:
    """A cancel must not wait for a machine that does not answer."""
    with full_backlog() as port, make_upstream("openai", f"http://127.0.0.1:{port}", 30).call() as call:
        timer = threading.Timer(0.1, call.abort)
        timer.start()
        started = time.monotonic()
        assert isinstance(call.connect(), Aborted)
        assert time.monotonic() - started < 0.1 + SLACK_S
        timer.join()


def test_nothing_begins_after_an_abort(server: FakeOpenAI, call: Call) -> None:
    """An abort that comes between two calls counts for the next one, even one that would be refused."""
    call.abort()
    for payload in (PAYLOAD, b'{"model":"m","messages":[]}', b'{"model":"m","messages":[],"raw":true}'):
        assert isinstance(call.load(payload, timeout_s=10), Aborted)
        assert isinstance(call.chat(payload, exec_timeout_s=10, stall_timeout_s=10), Aborted)
    assert isinstance(call.connect(), Aborted)
    assert server.calls == []
