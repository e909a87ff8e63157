"""The same jobs on the other kind of upstream."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.acceptance.stack import Stack
from tests.acceptance.test_lifecycle import FORWARD, states
from tests.acceptance.test_sync import PNG, official, weather
from tests.openai_server import FakeOpenAI, piece, reply


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenAI]:
    """The upstream."""
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def translating(server: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Foreman in front of it."""
    env = {
        "FOREMAN_UPSTREAM_URL": server.url,
        "FOREMAN_UPSTREAM_KIND": "openai",
        "FOREMAN_UPSTREAM_API_KEY": "sk-test",
    }
    with Stack(tmp_path_factory.mktemp("translating"), env) as stack:
        yield stack


def test_an_openai_compatible_server_runs_native_jobs(translating: Stack, server: FakeOpenAI) -> None:
    """With ``upstream.kind`` openai a native payload is translated, and its completion is native again."""
    job_id = translating.submit(options={"num_predict": 5})
    job = translating.settled(job_id)
    assert job["state"] == "done"
    assert job["result"]["message"]["role"] == "assistant"
    assert job["result"]["message"]["content"]
    assert job["result"]["done"] is True
    assert states(translating.events(job_id)) == FORWARD
    assert server.chats[-1].body["max_tokens"] == 5
    assert server.chats[-1].headers["Authorization"] == "Bearer sk-test"


@pytest.mark.parametrize("stream", [True, False])
def test_ollamas_client_gets_all_of_it_from_the_other_kind(
    translating: Stack,
    server: FakeOpenAI,
    stream: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Tools, thinking, images and a format there; thoughts, text and calls back, in Ollama's form."""
    call = piece(0, '{"city": "Paris", "days": 2}', "weather", "call_1")
    server.next(reply("Loo", "king", thinking=["Hm", "m."], tools=[call]))
    schema = {"type": "object", "properties": {"seen": {"type": "string"}}}
    messages = [{"role": "user", "content": "What is this?", "images": [PNG]}]
    with official(translating) as client:
        asked: dict[str, Any] = {"messages": messages, "tools": [weather], "think": True, "format": schema}
        parts = list(client.chat("m", stream=True, **asked)) if stream else [client.chat("m", **asked)]
    assert "".join(part.message.thinking or "" for part in parts) == "Hmm."
    assert "".join(part.message.content or "" for part in parts) == "Looking"
    [made] = [call for part in parts for call in part.message.tool_calls or ()]
    assert (made.function.name, made.function.arguments) == ("weather", {"city": "Paris", "days": 2})
    assert (parts[-1].done, parts[-1].eval_count) == (True, 4)
    sent = server.chats[-1].body
    picture = {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    assert {"type": "image_url", "image_url": picture} in sent["messages"][0]["content"]
    assert sent["response_format"]["json_schema"]["schema"] == schema
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}


def test_what_the_other_kind_cannot_express_says_so(translating: Stack, server: FakeOpenAI) -> None:
    """As the error of the job and of the client, with the key by name, and without a call."""
    before = len(server.chats)
    job = translating.settled(translating.submit(suffix="}"))
    assert (job["state"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "upstream_rejected", False)
    assert "/suffix" in job["error"]["message"]
    message = {"role": "user", "content": "What is this?", "images": [b"no picture"]}
    with official(translating) as client, pytest.raises(ollama.ResponseError, match="/messages/0/images/0"):
        client.chat("m", messages=[message])
    assert len(server.chats) == before
