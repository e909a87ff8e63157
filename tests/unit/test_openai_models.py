from __future__ import annotations

import json
from typing import Any

import pytest

from foreman.domain import openai_fault, openai_models
from foreman.domain.lifecycle import Cause
from foreman.domain.openai_models import Presence
from tests.openai_server import LLAMA_CPP, LM_STUDIO, LOADING, VLLM


def judged(*entries: dict[str, Any]) -> Presence:
    """What a list of these entries says of the model ``m``."""
    return openai_models.judge(json.dumps({"object": "list", "data": entries}).encode(), "m")


@pytest.mark.parametrize("owner", [VLLM, LM_STUDIO])
def test_a_complete_list_decides(owner: str) -> None:
    """What vLLM and LM Studio do not list they do not run."""
    assert judged({"id": "other", "owned_by": owner}, {"id": "m", "owned_by": owner}) is Presence.READY
    assert judged({"id": "other", "owned_by": owner}) is Presence.ABSENT


def test_a_list_that_may_leave_something_out_decides_nothing() -> None:
    """An empty list, one of a server nobody knows, or a mixed one: the chat itself will tell."""
    assert judged() is Presence.READY
    assert judged({"id": "other", "owned_by": "library"}) is Presence.READY
    assert judged({"id": "other"}) is Presence.READY
    assert judged({"id": "other", "owned_by": VLLM}, {"id": "more", "owned_by": "me"}) is Presence.READY


def test_llama_cpp_lists_its_model_before_it_is_loaded() -> None:
    """And under a name of its own, so its list says nothing; in front of many models it says which is loading."""
    assert judged({"id": "/models/x.gguf", "owned_by": LLAMA_CPP}) is Presence.UNSURE
    for status, presence in (("loading", Presence.LOADING), ("loaded", Presence.READY), ("unloaded", Presence.READY)):
        assert judged({"id": "m", "owned_by": LLAMA_CPP, "status": {"value": status}}) is presence


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[1,null]}', b"\xff", b"[" * 100_000, b'{"data":[{"id":["m"]}]}'],
)
def test_a_body_that_is_no_list_says_nothing(body: bytes) -> None:
    """Some servers have no list at that path, and the chat works all the same."""
    assert openai_models.judge(body, "m") is Presence.READY


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"message": "bad", "code": "invalid"}}, (Cause.UPSTREAM_REJECTED, False, True)),
        (400, {"error": {"message": "what?", "code": "model_not_found"}}, (Cause.MODEL_NOT_FOUND, False, True)),
        (400, {"error": "model 'm' not found"}, (Cause.MODEL_NOT_FOUND, False, True)),
        (404, {"error": {"message": "The model `m` does not exist."}}, (Cause.MODEL_NOT_FOUND, False, True)),
        (404, {"object": "error", "message": "The model `m` does not exist."}, (Cause.MODEL_NOT_FOUND, False, True)),
        (404, {"detail": "Not Found"}, (Cause.UPSTREAM_REJECTED, False, True)),
        (422, {"detail": [{"msg": "Field required", "loc": ["body"]}]}, (Cause.UPSTREAM_REJECTED, False, True)),
        (408, {"error": {"message": "too late"}}, (Cause.UPSTREAM_ERROR, True, False)),
        (425, {"error": {"message": "too early"}}, (Cause.UPSTREAM_ERROR, True, False)),
        (429, {"error": {"message": "slow down"}}, (Cause.UPSTREAM_ERROR, True, False)),
        (500, {"error": {"message": "it broke"}}, (Cause.UPSTREAM_ERROR, True, True)),
        (503, LOADING, (Cause.UPSTREAM_ERROR, True, False)),
    ],
)
def test_a_refusal_is_classed_by_status_and_words(status: int, body: Any, expected: tuple[Cause, bool, bool]) -> None:
    """The same classes as for Ollama, whichever form the words come in; they are quoted."""
    problem = openai_fault.refused(status, json.dumps(body), retry_after="7")
    assert (problem.cause, problem.retry, problem.began) == expected
    assert problem.upstream_status == status
    assert not problem.message.endswith(f"{status}.")


def test_a_refusal_in_no_known_form_is_quoted_if_it_is_text() -> None:
    """A proxy answers with a page, which is not repeated, or with a line, which is."""
    assert openai_fault.refused(502, "<html>Bad Gateway</html>").message == "The upstream answered 502."
    assert openai_fault.refused(502, "no backend").message == "The upstream answered 502: no backend"
    assert openai_fault.refused(400, "[" * 100_000).cause is Cause.UPSTREAM_REJECTED


def test_only_llama_cpps_own_words_mean_loading() -> None:
    """A proxy without a backend says 503 too, and may say so for ever."""
    assert openai_fault.is_loading(503, json.dumps(LOADING))
    assert not openai_fault.is_loading(500, json.dumps(LOADING))
    assert not openai_fault.is_loading(503, '{"error":"no backend"}')
    assert not openai_fault.is_loading(503, "<html>Loading</html>")
