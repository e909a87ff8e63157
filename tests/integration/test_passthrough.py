"""Requests that are no jobs: how long the model server may be silent in its answer to one, and who is told what."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from foreman.domain import fault
from foreman.domain.fault import FIRST_TEXT_PATIENCE
from foreman.net.origin import parse
from foreman.net.passthrough import Passage, Passthrough
from tests import upstream_faults as faults
from tests.integration.api import running_api
from tests.upstream import Exchange, FakeOllama, generate


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    """A model server that behaves until it is told not to."""
    with FakeOllama() as fake:
        yield fake


def passage(ollama: FakeOllama, silence_s: float) -> Passage:
    """Room for one request, which may be answered with pauses of ``silence_s``."""
    return Passthrough(parse(ollama.url), 5.0, total_s=30.0, silence_s=silence_s).passage()


def ask(open_passage: Passage) -> fault.Fault | None:
    """A request for text."""
    return open_passage.ask("POST", "/api/generate", b'{"model":"m","prompt":"hi"}', {})


def test_a_long_prompt_is_waited_for(ollama: FakeOllama) -> None:
    """A silence of twice the limit before the first byte is no stall."""

    def late(exchange: Exchange) -> None:
        exchange.pause(2.0)
        generate("a")(exchange)

    ollama.next_generate(late)
    with closing(passage(ollama, 1.0)) as asked:
        assert ask(asked) is None
        assert b'"response": "a"' in b"".join(asked)


def test_a_server_that_never_answers_is_stalled(ollama: FakeOllama) -> None:
    """The patience ends as well."""
    ollama.next_generate(faults.hang)
    with closing(passage(ollama, 0.1)) as asked:
        assert ask(asked) == fault.stalled(0.1 * FIRST_TEXT_PATIENCE)


def test_an_answer_that_falls_silent_is_broken_off(ollama: FakeOllama) -> None:
    """After the first piece the limit itself holds."""
    ollama.next_generate(faults.after(1, faults.hang))
    with closing(passage(ollama, 0.3)) as asked:
        assert ask(asked) is None
        pieces = iter(asked)
        assert next(pieces)
        with pytest.raises(ConnectionResetError):
            next(pieces)


@pytest.mark.parametrize(("there", "status"), [(True, 502), (False, 499)])
def test_a_client_that_has_gone_is_not_told_that_the_upstream_failed(
    tmp_path: Path, *, there: bool, status: int
) -> None:
    """Its call is cut for its sake, which is no fault of the upstream's."""
    ours, theirs = socket.socketpair()
    with ours, theirs, running_api(tmp_path) as api:
        if not there:
            theirs.close()
        answer = api.client.simulate_post("/api/show", json={"model": "m"}, extras={"gunicorn.socket": ours})
    assert answer.status_code == status
