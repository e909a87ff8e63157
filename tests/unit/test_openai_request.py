from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import openai_request, submission
from foreman.domain.address import Policy
from foreman.domain.fault import Fault
from foreman.domain.job import Limits
from foreman.domain.lifecycle import Cause
from foreman.errors import SubmissionInvalid

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
LIMITS = Limits(1, None, 1, 1, 1, None)


def payload(**keys: Any) -> bytes:
    """A job's payload: one message of a user, and ``keys``."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | keys).encode()


def asked(**keys: Any) -> dict[str, Any]:
    """The body of the request for ``payload(**keys)``, decoded."""
    request = openai_request.read(payload(**keys))
    assert isinstance(request, openai_request.Request), request
    assert request.body is not None
    body: dict[str, Any] = json.loads(request.body)
    return body


def messages(*given: dict[str, Any]) -> list[dict[str, Any]]:
    """What becomes of these messages."""
    made: list[dict[str, Any]] = asked(messages=list(given))["messages"]
    return made


def refusal(**keys: Any) -> str:
    """Why ``payload(**keys)`` cannot be asked for; the fault is final, and nothing was asked."""
    problem = openai_request.read(payload(**keys))
    assert isinstance(problem, Fault), problem
    assert (problem.cause, problem.retry, problem.began) == (Cause.UPSTREAM_REJECTED, False, False)
    return problem.message


def test_a_plain_chat_is_streamed_with_its_usage() -> None:
    """Without ``include_usage`` no server tells how many tokens it counted."""
    assert asked() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_options_go_by_the_name_the_server_knows() -> None:
    """What tunes the answer is translated, what tunes the server is left to the server."""
    body = asked(
        options={
            "temperature": 0,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.05,
            "seed": 42,
            "stop": ["\n"],
            "presence_penalty": 1.5,
            "frequency_penalty": 1,
            "num_predict": 100,
            "num_ctx": 8192,
            "num_gpu": 99,
            "num_thread": 8,
            "repeat_penalty": 1.1,
            "mirostat": 2,
            "no_such_option": True,
        },
        keep_alive="5m",
        truncate=True,
        shift=False,
    )
    assert body == asked() | {
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 42,
        "stop": ["\n"],
        "presence_penalty": 1.5,
        "frequency_penalty": 1,
        "max_tokens": 100,
    }


@pytest.mark.parametrize("limit", [-1, -2, 0, None, -1.0])
def test_no_limit_on_tokens_is_no_limit(limit: float | None) -> None:
    """Ollama's -1 and -2 are not numbers of tokens, and a server that is told none stops by itself."""
    assert "max_tokens" not in asked(options={"num_predict": limit, "seed": None})
    assert asked(options={"num_predict": 8.0})["max_tokens"] == 8


def test_a_format_constrains_the_answer() -> None:
    """``json`` and a schema each have a form of their own; none and ``""`` ask for nothing."""
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    assert asked(format="json")["response_format"] == {"type": "json_object"}
    made = asked(format=schema)["response_format"]
    assert (made["type"], made["json_schema"]["schema"]) == ("json_schema", schema)
    assert made["json_schema"]["name"]
    assert asked(format="") == asked(format=None) == asked()


def test_thinking_is_asked_for_in_both_ways_there_are() -> None:
    """On and off is a variable of the chat template, how much a key of the API; a client's own words come first."""
    assert asked(think=True)["chat_template_kwargs"] == {"enable_thinking": True}
    assert asked(think=False)["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked(think="low")["reasoning_effort"] == "low"
    own = {"enable_thinking": True, "x": 1}
    assert asked(think=False, chat_template_kwargs=own)["chat_template_kwargs"] == own
    assert asked(think=None) == asked()


def test_tools_and_foreign_keys_go_untouched() -> None:
    """A client that knows the server can use all of it, and cannot undo the streaming."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = asked(tools=[tool, {"function": {"name": "g"}}], tool_choice="required", logprobs=True, stream_options={})
    assert body["tools"] == [tool, {"type": "function", "function": {"name": "g"}}]
    assert (body["tool_choice"], body["logprobs"]) == ("required", True)
    assert body["stream_options"] == {"include_usage": True}
    assert asked(tools=[]) == asked(tools=None) == asked()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF89a", "gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "webp"),
        (b"BM", "bmp"),
    ],
)
def test_an_image_is_a_part_with_its_media_type(head: bytes, kind: str) -> None:
    """Ollama's images are bare base64; a data URL names what they are, which is in their first bytes."""
    data = base64.b64encode(head + bytes(60)).decode()
    (made,) = messages({"role": "user", "content": "what is this?", "images": [f"{data[:10]}\n{data[10:]}\n"]})
    url = f"data:image/{kind};base64,{data}"
    assert made["content"] == [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    (wordless,) = messages({"role": "user", "images": [data]})
    assert [part["type"] for part in wordless["content"]] == ["image_url"]


def test_a_tool_call_and_its_answer_share_an_id() -> None:
    """Ollama matches by order and name; OpenAI wants an id on both sides, and arguments as text."""
    calls = [{"function": {"name": name, "arguments": {"city": "Zürich"}}} for name in ("weather", "time")]
    made = messages(
        {"role": "assistant", "thinking": "Hm", "tool_calls": calls},
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "nobody asked"},
    )
    weather, clock = made[0]["tool_calls"]
    assert weather["function"] == {"name": "weather", "arguments": '{"city":"Zürich"}'}
    assert made[0]["content"] == ""
    assert made[0]["reasoning_content"] == "Hm"
    assert made[1] == {"role": "tool", "content": "noon", "tool_call_id": clock["id"], "name": "time"}
    assert made[2]["tool_call_id"] == weather["id"]
    ids = [weather["id"], clock["id"], made[3]["tool_call_id"]]
    assert len(set(ids)) == 3
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids), "what Mistral's templates accept"


def test_ids_that_a_client_kept_are_kept() -> None:
    """An id made up never collides with one of the client's, and the same conversation gets the same ids again."""
    given = (
        {"role": "assistant", "tool_calls": [{"id": "call00001", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}, {"id": 7, "function": {"name": "f"}}]},
        {"role": "tool", "content": "", "tool_call_id": "call00001"},
        {"role": "tool", "content": "", "tool_call_id": 7},
        {"role": "tool", "content": "", "tool_name": "f"},
    )
    made = messages(*given)
    assert [call["id"] for message in made[:2] for call in message["tool_calls"]] == ["call00001", "call00002", "7"]
    assert [message["tool_call_id"] for message in made[2:]] == ["call00001", "7", "call00002"]
    assert made[0]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert made == messages(*given)


def test_roles_and_names_are_written_as_openai_does() -> None:
    """Ollama takes roles in any case, and these servers do not."""
    assert messages({"role": "System", "content": "be brief", "name": "boss", "thinking": None}) == [
        {"role": "system", "content": "be brief", "name": "boss"}
    ]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"raw": True}, "/raw"),
        ({"template": "{{ .Prompt }}"}, "/template"),
        ({"suffix": "}"}, "/suffix"),
        ({"context": [1, 2]}, "/context"),
        ({"n": 2}, "/n"),
        ({"format": "xml"}, "/format"),
        ({"think": "a lot"}, "/think"),
        ({"options": {"num_predict": "many"}}, "/options/num_predict"),
        ({"options": {"num_predict": True}}, "/options/num_predict"),
        ({"messages": [{"role": "user", "images": [PNG, "AAAA"]}]}, "/messages/0/images/1"),
        ({"messages": [{"role": "user", "images": ["not base64!"]}]}, "/messages/0/images/0"),
        ({"messages": [{"role": "user", "images": [f"data:image/png;base64,{PNG}"]}]}, "/messages/0/images/0"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"name": "f"}]}]}, "/messages/0/tool_calls/0"),
        ({"messages": [], "keep_alive": 0}, "unload"),
        ({"messages": [], "keep_alive": "0s"}, "unload"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(keys: dict[str, Any], named: str) -> None:
    """An answer to another question than was asked would be worse than none."""
    assert named in refusal(**keys)


def test_keys_that_ask_for_nothing_are_no_reason_to_refuse() -> None:
    """Clients that write out every field of their own send ``"raw": false``."""
    assert asked(raw=False, template="", suffix=None, context=[], n=1) == asked() | {"n": 1}


def test_a_job_that_only_loads_has_nothing_to_generate() -> None:
    """Empty messages are Ollama's way to load a model."""
    assert openai_request.read(payload(messages=[], keep_alive=60)) == openai_request.Request("m", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
functions = st.fixed_dictionaries({}, optional={"name": strings | json_values, "arguments": json_values})
tool_calls = st.fixed_dictionaries({}, optional={"id": json_values, "function": functions | json_values})
chat_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "Assistant", "tool", "system", "control"])},
    optional={
        "content": strings | st.none(),
        "thinking": strings | st.none(),
        "images": st.lists(st.sampled_from([PNG, "", "A", "AAAA"]) | strings, max_size=2) | st.none(),
        "tool_calls": st.lists(tool_calls, max_size=2) | st.none(),
        "tool_name": json_values,
        "tool_call_id": json_values,
        "name": json_values,
    },
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(chat_messages, max_size=4)},
    optional={
        "format": st.sampled_from([None, "", "json", "xml", {}, {"type": "object"}]),
        "think": st.sampled_from([None, True, False, "low", "", "max"]),
        "tools": st.lists(st.dictionaries(strings, json_values, max_size=2), max_size=2) | st.none(),
        "options": st.dictionaries(
            st.sampled_from(["num_predict", "temperature", "stop", "seed", "num_ctx"]), json_values
        )
        | st.none(),
        "keep_alive": st.sampled_from([None, 0, -1, "5m", "0"]),
        "chat_template_kwargs": json_values,
        "n": json_values,
        "raw": json_values,
    },
)


@given(bodies)
def test_every_valid_job_is_translated_or_refused(body: dict[str, Any]) -> None:
    """Whatever passes the door becomes a request with the same number of messages, or a fault; nothing raises."""
    try:
        job = submission.read(body, defaults=LIMITS, policy=Policy())
    except SubmissionInvalid:
        return
    request = openai_request.read(job.payload)
    if isinstance(request, Fault):
        assert request.cause is Cause.UPSTREAM_REJECTED
    elif request.body is None:
        assert body["messages"] == []
    else:
        made = json.loads(request.body)
        assert [message["role"] for message in made["messages"]] == [each["role"].lower() for each in body["messages"]]
        for before, after in zip(body["messages"], made["messages"], strict=True):
            assert len(after.get("tool_calls", [])) == len(before.get("tool_calls") or [])
