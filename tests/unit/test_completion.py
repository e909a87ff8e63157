from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.completion import Assembly, Completion
from foreman.domain.fault import Fault
from foreman.domain.lifecycle import Cause

LAST = {
    "model": "m",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "eval_count": 3,
    "total_duration": 5191566416,
}


def part(**message: Any) -> bytes:
    """A line with a part of a message."""
    return json.dumps({"model": "m", "message": {"role": "assistant"} | message, "done": False}).encode()


def last(**change: Any) -> bytes:
    """The last line."""
    return json.dumps(LAST | change).encode()


def assemble(*lines: bytes, limit_b: int = 1_000_000) -> Completion | Fault:
    """What comes of a stream: the first fault, or what its end makes of it."""
    assembly = Assembly(limit_b)
    for line in lines:
        chunk = assembly.feed(line)
        if isinstance(chunk, Fault):
            return chunk
    return assembly.finish()


def completed(*lines: bytes) -> dict[str, Any]:
    """The body of a completion, decoded."""
    completion = assemble(*lines)
    assert isinstance(completion, Completion)
    body: dict[str, Any] = json.loads(completion.body)
    return body


def failed(*lines: bytes, limit_b: int = 1_000_000) -> Fault:
    """The fault that a stream ends in."""
    outcome = assemble(*lines, limit_b=limit_b)
    assert isinstance(outcome, Fault)
    return outcome


def test_text_and_thoughts_are_joined_and_the_last_line_gives_the_rest() -> None:
    """The completion is what Ollama would have answered without streaming."""
    body = completed(
        part(thinking="Hm", content=""), part(thinking="…"), part(content="Hel"), part(content="lo"), last()
    )
    assert body == LAST | {"message": {"role": "assistant", "content": "Hello", "thinking": "Hm…"}}
    assert list(body) == list(LAST)


def test_tool_calls_are_collected_in_order() -> None:
    """A model may call several tools, each in a line of its own, the last one's included."""
    calls: list[dict[str, Any]] = [{"function": {"name": name, "arguments": {}}} for name in "abc"]
    body = completed(part(tool_calls=calls[:1]), part(tool_calls=calls[1:2]), last(message={"tool_calls": calls[2:]}))
    assert body["message"] == {"role": "assistant", "content": "", "tool_calls": calls}


def test_stats_are_all_but_what_was_generated() -> None:
    """Stats go into rows and events, so nothing in them grows with the answer."""
    outcome = assemble(part(content="hi", logprobs=None), last(logprobs=[{"token": "hi"}]))
    assert isinstance(outcome, Completion)
    assert outcome.stats == {key: value for key, value in LAST.items() if key != "message"}
    assert json.loads(outcome.body)["logprobs"] == [{"token": "hi"}]


def test_an_answer_in_one_line_is_a_completion() -> None:
    """An upstream that does not stream, and the answer to a preload, have one line only."""
    assert completed(last(message={"role": "assistant", "content": "all"}))["message"]["content"] == "all"
    assert completed(b'{"done":true}') == {"done": True, "message": {"role": "assistant", "content": ""}}


def test_nulls_in_a_message_are_nothing() -> None:
    """Servers that write out every field send ``"tool_calls": null`` in each line."""
    body = completed(part(content="a", tool_calls=None, thinking=None), part(content=None), last(message=None))
    assert body["message"] == {"role": "assistant", "content": "a"}


def test_the_text_so_far_can_be_read_at_any_time() -> None:
    """What a cancelled job had is kept."""
    assembly = Assembly(1000)
    assembly.feed(part(content="Hel"))
    assembly.feed(part(content="lo"))
    assert (assembly.text, assembly.done) == ("Hello", False)


def test_an_end_without_done_is_truncated() -> None:
    """Ollama ends a stream in good order on some faults; only ``"done": true`` is a completion."""
    for lines in ((), (part(content="Hel"),), (last(done=False),), (last(done="true"),), (last(done=1),)):
        assert failed(*lines).cause is Cause.TRUNCATED


def test_an_error_line_is_the_upstreams_error() -> None:
    """After a 200 Ollama can only say so in the stream."""
    problem = failed(part(content="Hel"), b'{"error":"llama runner terminated"}')
    assert (problem.cause, problem.retry) == (Cause.UPSTREAM_ERROR, True)
    assert "llama runner terminated" in problem.message
    assert failed(b'{"error":{"message":"x"}}').message.endswith(": x")
    assert failed(b'{"error":1}').cause is Cause.UPSTREAM_ERROR
    assert failed(b'{"error":"model \'m\' not found"}').cause is Cause.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    "line",
    [
        b"data: {}",
        b"[]",
        b"null",
        b"3",
        b'{"message":',
        b"\xff\xfe",
        b'{"message":"text"}',
        b'{"message":{"content":1}}',
        b'{"message":{"thinking":[]}}',
        b'{"message":{"tool_calls":{}}}',
        b'{"eval_count":NaN}',
        b'{"logprobs":[{"logprob":-1e999}]}',
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
)
def test_a_line_that_is_none_of_ollamas_is_an_upstream_error(line: bytes) -> None:
    """The upstream is not trusted: what cannot be read is a fault of the call, not of foreman."""
    problem = failed(line)
    assert (problem.cause, problem.retry, problem.began) == (Cause.UPSTREAM_ERROR, True, True)


def test_numbers_that_json_cannot_hold_are_no_completion() -> None:
    """Python reads 1e999 as infinity, which no client could read back."""
    assert failed(last(eval_count=0).replace(b'"eval_count": 0', b'"eval_count": 1e999')).cause is Cause.UPSTREAM_ERROR


def test_what_is_generated_is_bounded() -> None:
    """A model that rambles on must not take the worker's memory, whichever way it does it."""
    for message in ({"content": "x" * 60}, {"thinking": "é" * 30}, {"tool_calls": [{"function": {"name": "f" * 60}}]}):
        problem = failed(part(**message), part(**message), last(), limit_b=100)
        assert (problem.cause, problem.retry) == (Cause.UPSTREAM_ERROR, False)


def test_half_characters_from_two_lines_become_one() -> None:
    """A tokenizer may cut an emoji in two; a half without its other half becomes U+FFFD, since UTF-8 has no halves."""
    assert completed(part(content="\ud83d"), part(content="\ude00"), last())["message"]["content"] == "😀"
    body = completed(part(content="\ud83d!"), last(done_reason="\ud800"))
    assert (body["message"]["content"], body["done_reason"]) == ("\ufffd!", "\ufffd")


def test_a_very_long_answer_of_single_letters_is_joined() -> None:
    """More lines than are joined at once change nothing."""
    assembly = Assembly(1_000_000)
    for index in range(10_000):
        assembly.feed(part(content=chr(ord("a") + index % 26)))
    assert assembly.text == "".join(chr(ord("a") + index % 26) for index in range(10_000))


@given(st.text(), st.lists(st.integers(0, 100)))
def test_an_answer_does_not_depend_on_where_it_is_cut(text: str, cuts: list[int]) -> None:
    """However a text is spread over lines, the completion holds all of it."""
    ends = sorted({*(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    assert completed(*(part(content=piece) for piece in pieces), last())["message"]["content"] == text


@given(st.lists(st.binary()))
def test_no_bytes_do_anything_but_make_a_completion_or_a_fault(lines: list[bytes]) -> None:
    """Nothing that an upstream can send raises."""
    assert isinstance(assemble(*lines), Completion | Fault)
