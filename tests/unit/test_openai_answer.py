from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.completion import Assembly, Completion
from foreman.domain.fault import Fault
from foreman.domain.lifecycle import Cause
from foreman.domain.openai_answer import Answer
from foreman.net.lines import lines
from tests.openai_server import chunks, delta, piece, usage

NOW = 1_795_494_191_000


def written(values: Iterable[Any], *, done: bool = True) -> bytes:
    """The bytes of a stream with these events."""
    events = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    return b"".join(b"data: " + event + b"\n\n" for event in [*events, *([b"[DONE]"] if done else [])])


def assemble(stream: bytes, cuts: Iterable[int] = (), limit_b: int = 1_000_000) -> Completion | Fault:
    """What comes of a ``stream`` that arrives in pieces, cut at ``cuts``; a millisecond goes by with each line."""
    ends = sorted({cut for cut in cuts if 0 < cut < len(stream)} | {len(stream)})
    reads = iter([stream[start:stop] for start, stop in zip([0, *ends], ends, strict=False)])
    answer, assembly = Answer("m", limit_b), Assembly(limit_b)
    at = 0
    for at, line in enumerate(lines(lambda _size_b: next(reads, b""), limit_b), start=1):
        assert line is not None
        native = answer.take(line, NOW, at * 1_000_000)
        if isinstance(native, Fault):
            return native
        for each in native:
            chunk = assembly.feed(each)
            if isinstance(chunk, Fault):
                return chunk
        if assembly.done:
            return assembly.finish()
    native = answer.end(NOW, at * 1_000_000)
    if isinstance(native, Fault):
        return native
    for each in native:
        assembly.feed(each)
    return assembly.finish()


def completed(*values: Any, done: bool = True) -> dict[str, Any]:
    """The completion of a stream with these events, decoded."""
    outcome = assemble(written(values, done=done))
    assert isinstance(outcome, Completion), outcome
    body: dict[str, Any] = json.loads(outcome.body)
    return body


def failed(*values: Any, done: bool = True, limit_b: int = 1_000_000) -> Fault:
    """The fault that a stream with these events ends in."""
    outcome = assemble(written(values, done=done), limit_b=limit_b)
    assert isinstance(outcome, Fault), outcome
    return outcome


def test_an_answer_becomes_ollamas() -> None:
    """Text, thoughts, counts and durations are where a client of Ollama looks for them, under the model's own name."""
    body = completed(*chunks("Hel", "lo", thinking=["H", "m"]))
    assert body == {
        "model": "m",
        "created_at": "2026-11-24T04:23:11.000Z",
        "message": {"role": "assistant", "content": "Hello", "thinking": "Hm"},
        "done": True,
        "done_reason": "stop",
        "total_duration": 7_000_000,
        "load_duration": 0,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 2_000_000,
        "eval_count": 4,
        "eval_duration": 4_000_000,
    }


def test_tool_calls_are_put_together_by_index() -> None:
    """Name and id come once, arguments in pieces of text, the pieces of several calls in any order."""
    pieces = [
        piece(1, "", "time", "b"),
        piece(0, "", "weather", "a"),
        piece(0, '{"ci'),
        piece(1, "{}"),
        piece(0, 'ty":"Zürich"}'),
    ]
    body = completed(*chunks(tools=pieces))
    assert body["message"]["tool_calls"] == [
        {"id": "a", "function": {"name": "weather", "arguments": {"city": "Zürich"}}},
        {"id": "b", "function": {"name": "time", "arguments": {}}},
    ]
    assert body["done_reason"] == "stop"


def test_tool_calls_in_other_forms_are_understood() -> None:
    """Whole calls without an index, arguments as an object, none at all, null, and a name said with every piece."""
    calls: list[dict[str, Any]] = [
        {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "b", "function": {"name": "g"}},
        {"id": "c", "function": {"name": "h", "arguments": "nu"}},
        {"function": {"name": "h", "arguments": "ll"}},
    ]
    body = completed(*chunks(tools=calls))
    assert [call["function"] for call in body["message"]["tool_calls"]] == [
        {"name": "f", "arguments": {"x": 1}},
        {"name": "g", "arguments": {}},
        {"name": "h", "arguments": {}},
    ]


@pytest.mark.parametrize("arguments", ['{"x":', "[]", "3", '{"x":NaN}', "text"])
def test_arguments_that_are_no_object_are_not_made_up(arguments: str) -> None:
    """Ollama's arguments are an object, and another try may bring one."""
    problem = failed(*chunks(tools=[piece(0, arguments, "f")]))
    assert (problem.cause, problem.retry) == (Cause.UPSTREAM_ERROR, True)
    assert failed(*chunks(tools=[piece(0, "{}")])).cause is Cause.UPSTREAM_ERROR, "without a name"


def test_a_call_cut_off_at_the_limit_of_tokens_is_left_out() -> None:
    """The same request would be cut off again, and what came before the call is of use."""
    pieces = [delta("Hm"), delta(tool_calls=[piece(0, '{"x":', "f")]), delta(finish="length"), usage()]
    body = completed(*pieces)
    assert body["message"] == {"role": "assistant", "content": "Hm"}
    assert body["done_reason"] == "length"


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call", "content_filter", "eos"])
def test_every_other_reason_to_finish_is_stop(reason: str) -> None:
    """Ollama knows two, and only one of them says that something is missing."""
    assert completed(delta("a", reason))["done_reason"] == "stop"


def test_an_answer_without_usage_has_no_counts() -> None:
    """A count that nobody told is not zero."""
    body = completed(delta("a"), delta(finish="stop"))
    assert {"prompt_eval_count", "eval_count"}.isdisjoint(body)
    odd = {"prompt_tokens": "many", "completion_tokens": -1}
    assert {"prompt_eval_count", "eval_count"}.isdisjoint(completed(delta("a", "stop") | {"usage": odd}))


def test_an_answer_is_done_with_its_last_word() -> None:
    """With reason and usage told, no ``[DONE]`` is waited for; without usage it, or the end, is the last word."""
    assert completed(*chunks("a"), b"not JSON, and not read any more")["message"]["content"] == "a"
    assert completed(delta("a", "stop") | {"usage": {}}, b"nor this")["message"]["content"] == "a"
    assert completed(delta("a", "stop"), done=False)["message"]["content"] == "a"
    assert completed(delta("a") | {"usage": {"completion_tokens": 1}}, delta("b", "stop"))["eval_count"] == 1


def test_an_answer_that_is_not_streamed_is_understood() -> None:
    """A server that ignores ``stream`` sends one object, and no event."""
    message = {"role": "assistant", "content": "all", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    whole = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"completion_tokens": 1}}
    outcome = assemble(json.dumps(whole).encode())
    assert isinstance(outcome, Completion)
    body = json.loads(outcome.body)
    assert (body["message"]["content"], len(body["message"]["tool_calls"])) == ("all", 1)
    assert body["eval_count"] == 1


def test_what_is_no_data_is_passed_over() -> None:
    """Comments keep a connection alive while a long prompt is read; other fields and choices are nobody's."""
    other = delta() | {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    empty = delta() | {"choices": [{"index": 0, "finish_reason": ""}]}
    events = written([delta("a"), other, {"choices": None}, {"choices": [None]}, empty, delta(finish="stop")])
    outcome = assemble(b": ping\n\nevent: message\nid: 4\nretry: 10\n" + events)
    assert isinstance(outcome, Completion)
    assert json.loads(outcome.body)["message"]["content"] == "a"


def test_thoughts_come_under_either_name_but_not_twice() -> None:
    """For a while vLLM has sent the same thought under both names."""
    both = delta(reasoning="Hm", reasoning_content="Hm")
    body = completed(both, delta(reasoning="…"), delta(reasoning=None, reasoning_content=""), delta("a", "stop"))
    assert body["message"]["thinking"] == "Hm…"


def test_logprobs_are_collected() -> None:
    """Whoever asked for them gets them in the shape that Ollama shares with OpenAI."""
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    with_logprobs = delta("a")
    with_logprobs["choices"][0]["logprobs"] = {"content": [token]}
    assert completed(with_logprobs, with_logprobs, delta(finish="stop"))["logprobs"] == [token, token]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [delta("a")],
        [delta("a", "abort"), usage()],
        [delta("a", "error")],
        [usage()],
    ],
    ids=["nothing", "no reason", "aborted", "failed", "usage only"],
)
@pytest.mark.parametrize("done", [True, False])
def test_an_end_without_a_reason_is_truncated(values: list[Any], *, done: bool) -> None:
    """A stream may end in good order anywhere; only the model's own stop is a completion."""
    assert failed(*values, done=done).cause is Cause.TRUNCATED


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"error": {"message": "out of memory", "code": 500}}, (Cause.UPSTREAM_ERROR, True, 500)),
        ({"error": {"message": "out of memory", "code": "oom"}}, (Cause.UPSTREAM_ERROR, True, None)),
        ({"error": {"message": "too long, out of memory", "code": 400}}, (Cause.UPSTREAM_REJECTED, False, 400)),
        ({"error": {"message": "busy, out of memory", "code": 503}}, (Cause.UPSTREAM_ERROR, True, 503)),
        ({"error": "out of memory"}, (Cause.UPSTREAM_ERROR, True, None)),
        ({"object": "error", "message": "out of memory", "code": 400}, (Cause.UPSTREAM_REJECTED, False, 400)),
        ({"error": {"message": "The model `m` does not exist, out of memory"}}, (Cause.MODEL_NOT_FOUND, False, None)),
    ],
)
def test_an_error_in_the_stream_is_classed_like_a_status(error: Any, expected: tuple[Cause, bool, int | None]) -> None:
    """After a 200 a server can only say so in an event; it had begun, whatever it says."""
    problem = failed(delta("a"), error)
    assert (problem.cause, problem.retry, problem.upstream_status) == expected
    assert problem.began
    assert "out of memory" in problem.message
    outcome = assemble(b"error: " + json.dumps(error).encode() + b"\n\n")
    assert outcome == problem


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"nonsense",
        b"[]",
        b"3",
        b'{"choices":',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"usage":NaN}',
        {"choices": [{"delta": 3}]},
        {"choices": [{"delta": [1]}]},
        {"choices": [{"finish_reason": {"type": "stop"}}]},
        {"choices": [{"delta": {"content": 1}}]},
        {"choices": [{"delta": {"content": [{"type": "text", "text": "a"}]}}]},
        {"choices": [{"delta": {"reasoning": {}}}, {}], "error": [1]},
        {"choices": [{"delta": {"tool_calls": {"a": 1}}}]},
        {"choices": [{"delta": {"tool_calls": [1]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": "f"}]}}]},
    ],
)
def test_an_event_that_is_none_of_openais_is_an_upstream_error(event: Any) -> None:
    """The upstream is not trusted: what cannot be read is a fault of the call, not of foreman."""
    problem = failed(event, delta("a", "stop"))
    assert (problem.cause, problem.retry, problem.began) == (Cause.UPSTREAM_ERROR, True, True)


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_no_depth_of_nesting_raises(depth: int) -> None:
    """Python gives up on reading or on writing, at some depth or other; either is the upstream's fault."""
    arguments = '{"a":' * depth + "1" + "}" * depth
    for values in (
        [delta(tool_calls=[piece(0, arguments, "f")]), delta(finish="stop")],
        [json.dumps(delta("X", "stop")).replace('"X"', arguments).encode()],
        [json.dumps(delta(tool_calls=[piece(0, "X", "f")])).replace('"X"', arguments).encode(), delta(finish="stop")],
    ):
        assert isinstance(assemble(written(values)), Completion | Fault)


def test_what_a_tool_call_may_grow_to_is_bounded() -> None:
    """Calls are held back until they are whole, so their size is counted here, empty pieces included."""
    for tool in (piece(0, "x" * 60, "f"), piece(0, "")):
        values = [delta(tool_calls=[tool])] * 10
        problem = failed(*values, limit_b=1000)
        assert (problem.cause, problem.retry) == (Cause.UPSTREAM_ERROR, False)


def test_half_characters_from_two_events_become_one() -> None:
    """A tokenizer may cut an emoji in two, in text and in arguments."""
    halves = [piece(0, '{"a":"\ud83d', "f"), piece(0, '\ude00"}')]
    body = completed(delta("\ud83d"), delta("\ude00"), *chunks(tools=halves))
    assert body["message"]["content"] == "😀"
    assert body["message"]["tool_calls"][0]["function"]["arguments"] == {"a": "😀"}


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=6)


@given(texts, texts, st.lists(st.integers(0, 5000), max_size=20), st.sampled_from([b"\n", b"\r\n"]))
def test_an_answer_does_not_depend_on_where_the_network_cuts_it(
    thoughts: list[str], tokens: list[str], cuts: list[int], line_break: bytes
) -> None:
    """In the middle of a character, a line or a line break: the same bytes are the same completion."""
    arguments = json.dumps({"text": "".join(tokens)}, ensure_ascii=False)
    tools = [piece(0, arguments[:5], "f", "a"), piece(0, arguments[5:])]
    events = [json.dumps(each, ensure_ascii=False).encode() for each in chunks(*tokens, thinking=thoughts, tools=tools)]
    stream = written(events).replace(b"\n", line_break)
    outcome = assemble(stream, cuts)
    assert outcome == assemble(stream)
    assert isinstance(outcome, Completion)
    message = json.loads(outcome.body)["message"]
    assert message["content"] == "".join(tokens)
    assert message.get("thinking", "") == "".join(thoughts)
    assert message["tool_calls"][0]["function"]["arguments"] == {"text": "".join(tokens)}


#: Every key that is looked at, so that random values meet it in random places.
KEYS = [
    *("choices", "delta", "message", "content", "reasoning", "tool_calls", "function", "arguments", "name", "index"),
    *("id", "finish_reason", "usage", "prompt_tokens", "logprobs", "error", "code", "detail"),
]
parts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.binary() | st.builds(lambda part: json.dumps(part).encode(), parts)))
def test_no_bytes_do_anything_but_make_a_completion_or_a_fault(events: list[bytes]) -> None:
    """Nothing that an upstream can send raises."""
    assert isinstance(assemble(written(events)), Completion | Fault)
