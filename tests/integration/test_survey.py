"""Probes of real servers on loopback: what is found, and what is no fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foreman.clock import monotonic
from foreman.domain.fault import Fault
from foreman.domain.lifecycle import Cause
from foreman.domain.upstream import Survey
from foreman.net.upstream import Kind, Upstream, make_upstream
from tests.openai_server import LLAMA_CPP, LM_STUDIO, VLLM, FakeOpenAI
from tests.upstream import Exchange, FakeOllama
from tests.upstream_calls import SLACK_S, full_backlog


class Scripted(FakeOllama):
    """An Ollama that answers to some paths in a way of its own."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(models={"a", "b"})
        self.answers = {f"/api/{name}": answer for name, answer in answers.items()}

    def _route(self, exchange: Exchange) -> None:
        answer = self.answers.get(exchange.received.path)
        if answer is None:
            super()._route(exchange)
        else:
            answer(exchange)


def status(number: int, body: Any = b"no") -> Any:
    """An answer that is always this one."""
    return lambda exchange: exchange.answer(number, body)


def survey(server: FakeOllama, timeout_s: float = 5) -> Survey | Fault:
    """What a probe finds."""
    return Upstream(server.url, 5).survey(timeout_s)


def test_an_ollama_tells_what_it_has_and_what_is_in_memory() -> None:
    """By ``/api/tags`` and ``/api/ps``, over one connection."""
    with FakeOllama(models={"a", "b"}) as ollama:
        ollama.loaded["b"] = monotonic()
        assert survey(ollama) == Survey(("a", "b"), ("b",))
        assert len({call.peer for call in ollama.calls}) == 1


@pytest.mark.parametrize("number", [404, 405, 501])
def test_a_server_without_lists_is_well(number: int) -> None:
    """Something that speaks only ``/api/chat`` runs jobs like any other."""
    with Scripted(tags=status(number), ps=status(number)) as ollama:
        assert survey(ollama) == Survey()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"models": 1}', b"[" * 9999, b"\xff"])
def test_an_answer_that_is_no_list_tells_nothing(body: bytes) -> None:
    """It came from a server that lives."""
    with Scripted(tags=status(200, body), ps=status(200, body)) as ollama:
        assert survey(ollama) == Survey()


def test_entries_that_are_none_are_passed_over() -> None:
    """The rest of the list is as good."""
    entries = [1, {}, {"name": 7}, {"name": "a"}, {"model": "b:x", "name": "c"}]
    with Scripted(tags=status(200, {"models": entries})) as ollama:
        assert survey(ollama) == Survey(("a", "b:x"))


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_name_that_no_job_can_have_is_passed_over(kind: Kind) -> None:
    """Half of a surrogate pair is legal JSON, and no database keeps it: the probe of all upstreams would fail."""
    models = [{"name": "\ud800"}, {"name": "a"}]
    data = [{"id": each["name"], "owned_by": VLLM} for each in models]
    answer = status(200, json.dumps({"models": models, "data": data}).encode())
    with Scripted(tags=answer) as ollama, FakeOpenAI() as openai:
        openai.next_load(answer)
        url = ollama.url if kind == "ollama" else openai.url
        found = make_upstream(kind, url, 5).survey(5)
        assert isinstance(found, Survey)
        assert found.available == ("a",)


@pytest.mark.parametrize(
    ("number", "cause"),
    [(401, Cause.UPSTREAM_REJECTED), (500, Cause.UPSTREAM_ERROR), (503, Cause.UPSTREAM_ERROR)],
)
def test_an_error_is_the_fault_that_it_would_be_of_a_chat(number: int, cause: Cause) -> None:
    """A wrong key, a proxy with nothing behind it: jobs had better go elsewhere."""
    with Scripted(tags=status(number)) as ollama:
        found = survey(ollama)
        assert isinstance(found, Fault)
        assert (found.cause, found.upstream_status) == (cause, number)


def test_a_server_that_refuses_or_does_not_answer_is_away() -> None:
    """Within the time that it is given, whatever it does."""
    ollama = Scripted(tags=lambda exchange: exchange.pause(60))
    with ollama:
        began = monotonic()
        found = survey(ollama, timeout_s=0.3)
        assert monotonic() - began < 0.3 + SLACK_S
        assert isinstance(found, Fault)
        assert found.cause is Cause.UPSTREAM_UNREACHABLE
    refused = survey(ollama)
    assert isinstance(refused, Fault)
    assert (refused.cause, refused.message) == (Cause.UPSTREAM_UNREACHABLE, "The upstream refused the connection.")
    with full_backlog() as port:
        began = monotonic()
        assert isinstance(Upstream(f"http://127.0.0.1:{port}", 30).survey(0.3), Fault)
        assert monotonic() - began < 0.3 + SLACK_S


@pytest.mark.parametrize(
    ("owner", "found"),
    [
        (VLLM, Survey(("a", "b"), ("a", "b"))),
        (LM_STUDIO, Survey(("a", "b"))),
        # It takes a request for any name, whatever it calls its model.
        (LLAMA_CPP, Survey(None, ("a", "b"))),
        ("somebody", Survey()),
    ],
)
def test_an_openai_compatible_server_tells_as_much_as_its_list_does(owner: str, found: Survey) -> None:
    """Whose list it is says whether it is complete, and whether its models are in memory."""
    with FakeOpenAI(models={"a", "b"}, owner=owner) as server:
        assert make_upstream("openai", server.url, 5).survey(5) == found


def test_llama_cpp_in_front_of_many_models_tells_which_are_loaded() -> None:
    """By the status of each."""
    data = [{"id": name, "owned_by": LLAMA_CPP, "status": {"value": value}} for name, value in STATUSES]
    with FakeOpenAI() as server:
        server.next_load(status(200, json.dumps({"data": data}).encode()))
        assert make_upstream("openai", server.url, 5).survey(5) == Survey(("a", "b", "c"), ("b",))


STATUSES = [("a", "unloaded"), ("b", "loaded"), ("c", "loading")]


def test_an_openai_compatible_server_without_a_list_is_well() -> None:
    """It may have any model."""
    with FakeOpenAI() as server:
        server.next_load(status(404))
        assert make_upstream("openai", server.url, 5).survey(5) == Survey()
