from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import submission
from foreman.domain.address import Policy
from foreman.domain.job import Limits
from foreman.domain.openai_front import Answer, models, native, wants_usage
from foreman.errors import SubmissionInvalid

HI = {"role": "user", "content": "Hi"}
DOT = "data:image/png;base64,iVBORw0KGgo="
LIMITS = Limits(60.0, None, 60.0, 60.0, 60.0, None)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("model", "messages", "tools", "stop", "n", "options", "response_format", "reasoning_effort", "stream_options")
PARTS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "image_url"]), "text": JSON, "image_url": JSON}
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "tool", "assistant", "developer"]) | JSON,
        "content": st.lists(PARTS, max_size=3) | JSON,
        "tool_calls": st.lists(st.fixed_dictionaries({}, optional={"id": JSON, "function": JSON}), max_size=2) | JSON,
        "tool_call_id": JSON,
    },
)


def chat(**keys: Any) -> dict[str, Any]:
    """The native form of a body with these keys, less what every body has."""
    made = native({"model": "m", "messages": [HI]} | keys)
    return {key: value for key, value in made.items() if key not in ("model", "messages")}


def message(**keys: Any) -> Any:
    """The native form of the second of two messages."""
    return native({"model": "m", "messages": [HI, keys]})["messages"][1]


def pointers(body: Any) -> list[str]:
    """Where a body has no native form."""
    with pytest.raises(SubmissionInvalid) as raised:
        native(body)
    return [problem.pointer for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("keys", "made"),
    [
        ({}, {}),
        ({"temperature": 0, "top_p": 0.5, "seed": 1}, {"options": {"temperature": 0, "top_p": 0.5, "seed": 1}}),
        ({"max_tokens": 9}, {"options": {"num_predict": 9}}),
        ({"max_completion_tokens": 9, "temperature": None}, {"options": {"num_predict": 9}}),
        ({"stop": "x"}, {"options": {"stop": ["x"]}}),
        ({"stop": ["x", "y"], "options": {"num_ctx": 8}}, {"options": {"num_ctx": 8, "stop": ["x", "y"]}}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
            {"format": {"type": "object"}},
        ),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "minimal"}, {"think": "low"}),
        ({"reasoning_effort": "high"}, {"think": "high"}),
        ({"stream": True, "stream_options": {"include_usage": True}, "n": 1}, {}),
        ({"tools": [{"type": "function"}], "user": "u"}, {"tools": [{"type": "function"}], "user": "u"}),
        ({"state_webhook_url": "https://a.b/", "ttl_s": 5}, {"state_webhook_url": "https://a.b/", "ttl_s": 5}),
    ],
)
def test_keys_have_their_native_names(keys: dict[str, Any], made: dict[str, Any]) -> None:
    """What only the front needs is gone, and what is nobody's business goes as it is."""
    assert chat(**keys) == made


def test_a_message_in_parts_becomes_one_with_images() -> None:
    """Texts are joined, images are their base64."""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": DOT}},
        {"type": "text", "text": "b"},
    ]
    assert message(role="user", content=parts) == {"role": "user", "content": "a\nb", "images": ["iVBORw0KGgo="]}


def test_a_conversation_with_tools_is_native() -> None:
    """Arguments are objects, and a tool's message has the name of what was called."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "Hm"}
    told = {"role": "tool", "tool_call_id": "c1", "content": "9"}
    assert native({"model": "m", "messages": [HI, asked, told]})["messages"] == [
        HI,
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "9", "tool_name": "f"},
    ]


def test_a_developer_is_the_system() -> None:
    """As OpenAI has it for its newer models."""
    assert message(role="developer", content="x") == {"role": "system", "content": "x"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], [""]),
        ({"model": "m", "messages": []}, ["/messages"]),
        ({"model": "m", "messages": [HI], "n": 2}, ["/n"]),
        ({"model": "m", "messages": [HI], "response_format": {"type": "xml"}, "reasoning_effort": 9}, [
            "/response_format", "/reasoning_effort"]),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}]}]}, [
            "/model", "/messages/0/content/0/image_url/url"]),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, [
            "/messages/0/content/0"]),
        ({"model": "m", "messages": [{"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, [
            "/messages/0/role", "/messages/0/tool_calls/0/function/arguments"]),
        ({"model": "m", "messages": [{"role": "tool", "tool_calls": [{}]}]}, ["/messages/0/tool_calls/0/function"]),
    ],
)  # fmt: skip
def test_what_has_no_native_form_is_named(body: Any, where: list[str]) -> None:
    """All of it at once, by pointer."""
    assert pointers(body) == where


@given(st.fixed_dictionaries({}, optional={**dict.fromkeys(KEYS, JSON), "messages": st.lists(MESSAGES, max_size=3)}))
def test_any_body_is_a_job_or_refused(body: dict[str, Any]) -> None:
    """Nothing that is JSON makes it fail."""
    with suppress(SubmissionInvalid):
        submission.read(native(body), defaults=LIMITS, policy=Policy(allow_http=False, allowed_nets=()))
    assert wants_usage(body) in (True, False)


def answer(*, usage: bool = False) -> Answer:
    """An answer of job J."""
    return Answer("J", "m", 1_700_000_000, usage=usage)


LAST = {"message": {"role": "assistant", "content": ""}, "done": True, "prompt_eval_count": 3, "eval_count": 2}
CALL = {"function": {"name": "f", "arguments": {"a": 1}}}


def test_lines_become_chunks() -> None:
    """The role comes first, the reason last, and each says whose they are."""
    made = answer()
    first = made.chunks({"message": {"role": "assistant", "content": "Hi"}})
    last = made.chunks(LAST)
    head = {"id": "chatcmpl-J", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    delta = {"role": "assistant", "content": "Hi"}
    assert first == [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]
    assert last == [head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]


def test_usage_is_counted_where_it_is_wanted() -> None:
    """A chunk more, without a choice."""
    made = answer(usage=True).chunks(LAST)
    assert [len(chunk["choices"]) for chunk in made] == [1, 0]
    assert made[1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    ("message", "rest", "reason"),
    [
        ({"content": "x"}, {"done_reason": "stop"}, "stop"),
        ({"content": "x"}, {"done_reason": "length"}, "length"),
        ({"tool_calls": [CALL]}, {"done_reason": "stop"}, "tool_calls"),
        ({"content": "x"}, {}, "stop"),
    ],
)
def test_why_it_ended_has_openais_words(message: dict[str, Any], rest: dict[str, Any], reason: str) -> None:
    """In a stream and in one piece."""
    line = {"message": message, "done": True} | rest
    assert answer().chunks(line)[0]["choices"][0]["finish_reason"] == reason
    assert answer().whole(line)["choices"][0]["finish_reason"] == reason


def test_calls_are_numbered_over_all_lines() -> None:
    """With an id each, the upstream's where it gave one, and their arguments as text."""
    made = answer()
    lines: list[dict[str, Any]] = [
        {"message": {"tool_calls": [CALL, CALL | {"id": "theirs"}]}},
        {"message": {"tool_calls": [CALL]}},
    ]
    calls = [call for line in lines for call in made.chunks(line)[0]["choices"][0]["delta"]["tool_calls"]]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "call_J_0"), (1, "theirs"), (2, "call_J_2")]
    assert {call["function"]["arguments"] for call in calls} == {'{"a":1}'}


def test_a_completion_is_one_object() -> None:
    """Thoughts beside the text, and what it cost."""
    native_answer = LAST | {"message": {"content": "Hi", "thinking": "Hm"}, "logprobs": [{"token": "Hi"}]}
    assert answer().whole(native_answer) == {
        "id": "chatcmpl-J",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "reasoning": "Hm"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": "Hi"}]},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def test_models_are_listed_by_name() -> None:
    """Whatever else Ollama says of them; what is no model is passed over."""
    listed = models({"models": [{"name": "a", "model": "a:latest"}, {"name": "b"}, {}, 7]}, 9)
    assert listed is not None
    assert [(each["id"], each["object"], each["created"]) for each in listed] == [
        ("a:latest", "model", 9),
        ("b", "model", 9),
    ]


def test_a_list_that_is_openais_already_stays_as_it_is() -> None:
    """An upstream of that kind; what is no list is none."""
    theirs = {"id": "m", "object": "model", "created": 1, "owned_by": "vllm"}
    assert models({"object": "list", "data": [theirs, 7, {}]}, 9) == [theirs]
    assert models([], 9) is None
