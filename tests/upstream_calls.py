"""Calls to the fake upstream as the tests of the client make them: one chat, and what came of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from foreman.domain.completion import Completion
from foreman.domain.fault import Aborted, Fault
from foreman.domain.lifecycle import Cause
from foreman.net.upstream import Call, Upstream
from tests.upstream import FakeOllama

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "options": {"seed": 1}}
PAYLOAD = json.dumps(CHAT).encode()

#: Seconds by which a call may miss its bound: the watchdog's thread has to get its turn on a busy machine. What would
#: hold a call beyond it in these tests holds it for ten seconds at least.
SLACK_S = 4.0


def connected(ollama: FakeOllama) -> Call:
    """A call to ``ollama``, its connection open."""
    call = Upstream(ollama.url, 5).connect()
    assert isinstance(call, Call)
    return call


def chat(call: Call, *, exec_timeout_s: float = 10, stall_timeout_s: float = 10) -> Completion | Fault | Aborted:
    """The chat of ``PAYLOAD``, within bounds that a test need not name."""
    return call.chat(PAYLOAD, exec_timeout_s=exec_timeout_s, stall_timeout_s=stall_timeout_s)


def fault_of(outcome: object) -> tuple[Cause, bool, bool]:
    """``(cause, retry, began)``."""
    assert isinstance(outcome, Fault), outcome
    return outcome.cause, outcome.retry, outcome.began


@contextmanager
def full_backlog() -> Iterator[int]:
    """The port of a socket whose queue of connections is full, so that the next SYN gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            sock.settimeout(0)
            sock.connect_ex(address)
        yield address[1]
        for sock in waiting:
            sock.close()
