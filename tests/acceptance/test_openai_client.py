"""``/v1`` through real processes, as OpenAI's official Python client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.acceptance.stack import Stack
from tests.openai_server import FakeOpenAI
from tests.upstream import reply
from tests.upstream_faults import after, error_line, hang, status

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
]
NOBODY = cast("ChatCompletionMessageParam", {"role": "nobody", "content": "x"})
CALL = {"function": {"name": "f", "arguments": {"a": 1}}}


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    """The official client; the upstream has one model."""
    stack.upstream.models = {"m"}
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0) as client:
        yield client
    stack.upstream.models = None


def test_a_completion_arrives_in_one_piece(stack: Stack, client: openai.OpenAI) -> None:
    """With its figures, and options under their native names upstream."""
    made = client.chat.completions.create(model="m", messages=MESSAGES, temperature=0, max_tokens=9)
    [choice] = made.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello, world!")
    assert choice.finish_reason == "stop"
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (26, 4)
    assert stack.upstream.chats[-1].body["options"] == {"temperature": 0, "num_predict": 9}


def test_a_completion_arrives_token_by_token(client: openai.OpenAI) -> None:
    """And the count of tokens at the end, as it was asked for."""
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=options)
    chunks = list(stream)
    text = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert text == ["Hello", ", ", "world", "!", None]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices] == [None] * 4 + ["stop"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 30


def test_tools_are_called(stack: Stack, client: openai.OpenAI) -> None:
    """Streamed and not, and the conversation goes on with what the tool said."""
    stack.upstream.next(reply(tool_calls=[CALL]), reply(tool_calls=[CALL]))
    [choice] = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("f", '{"a":1}')
    chunks = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS, stream=True)
    deltas = [delta for chunk in chunks for choice in chunk.choices for delta in choice.delta.tool_calls or ()]
    assert [delta.function.arguments for delta in deltas if delta.function is not None] == ['{"a":1}']
    told: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "9"}
    asked: ChatCompletionMessageParam = {
        "role": "assistant",
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": "f", "arguments": call.function.arguments}}
        ],
    }
    client.chat.completions.create(model="m", messages=[*MESSAGES, asked, told])
    sent = stack.upstream.chats[-1].body["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert sent[2]["tool_name"] == "f"


def test_pictures_a_format_and_thoughts_cross(stack: Stack, client: openai.OpenAI) -> None:
    """Each is said in Ollama's way upstream, and the thoughts come back beside the text."""
    stack.upstream.next(reply("A dot.", thinking=["Hm", "m."]))
    schema: dict[str, object] = {"type": "object", "properties": {"seen": {"type": "string"}}}
    asked: ChatCompletionMessageParam = {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ],
    }
    made = client.chat.completions.create(
        model="m",
        messages=[asked],
        reasoning_effort="high",
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    [choice] = made.choices
    assert choice.message.content == "A dot."
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning"] == "Hmm."
    sent = stack.upstream.chats[-1].body
    assert sent["messages"] == [{"role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="]}]
    assert (sent["format"], sent["think"]) == (schema, "high")


def test_models_are_listed_and_looked_up(client: openai.OpenAI) -> None:
    """As the upstream has them."""
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/none:latest")


def test_errors_are_those_of_the_client(stack: Stack, client: openai.OpenAI) -> None:
    """By status, with the words of whoever refused."""
    with pytest.raises(openai.NotFoundError, match="model 'none' not found"):
        client.chat.completions.create(model="none", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="/n must be 1"):
        client.chat.completions.create(model="m", messages=MESSAGES, n=2)
    with pytest.raises(openai.BadRequestError, match="/messages/0/role must be one of"):
        client.chat.completions.create(model="m", messages=[NOBODY])
    stack.upstream.next(status(400, "no tools here"))
    with pytest.raises(openai.BadRequestError, match="no tools here"):
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True)


def test_an_error_in_the_stream_is_raised(stack: Stack, client: openai.OpenAI) -> None:
    """After the tokens that there were."""
    stack.upstream.next(after(1, error_line("out of memory")))
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert next(stream).choices[0].delta.content == "t0 "
    with pytest.raises(openai.APIError, match="out of memory"):
        next(stream)


def test_a_client_that_hangs_up_ends_its_job(stack: Stack, client: openai.OpenAI) -> None:
    """As on every synchronous path."""
    stack.upstream.next(after(1, hang))
    with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        job_id = stream.response.headers["X-Foreman-Job-Id"]
        next(stream)
    assert stack.until(job_id, "failed")["error"]["code"] == "client_disconnected"


@pytest.mark.parametrize("below", ["", "/v1"])
def test_an_upstream_of_the_same_kind_is_behind_it(own_directory: Path, below: str) -> None:
    """Chats and models, whether its URL names its ``/v1`` or not."""
    with FakeOpenAI() as upstream:
        env = {"FOREMAN_UPSTREAM_URL": upstream.url + below, "FOREMAN_UPSTREAM_KIND": "openai"}
        env["FOREMAN_UPSTREAM_API_KEY"] = "key"
        with Stack(own_directory, env) as stack, openai.OpenAI(base_url=f"{stack.url}/v1", api_key="x") as client:
            assert [model.id for model in client.models.list()] == ["m"]
            made = client.chat.completions.create(model="m", messages=MESSAGES)
            assert made.choices[0].message.content == "Hello, world!"
        assert {call.headers["Authorization"] for call in upstream.calls} == {"Bearer key"}
