from __future__ import annotations

import json

import pytest

from foreman.bundled.answer import Answer
from foreman.bundled.request import Refused, keep_alive_s, read_chat


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 300),
        (0, 0),
        ("0", 0),
        ("0s", 0),
        ("5", 5),
        (1.5, 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (-1, float("inf")),
        ("-1", float("inf")),
        ("-1m", float("inf")),
    ],
    ids=repr,
)
def test_keep_alive_is_a_go_duration_or_seconds(value: object, seconds: float) -> None:
    """What Ollama takes for ``keep_alive``, and what it means in seconds."""
    assert keep_alive_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "m", "5 m", "5x", "1h-30m", True, [], {}, float("nan")], ids=repr)
def test_keep_alive_that_is_no_duration_is_refused(value: object) -> None:
    """A duration needs a unit unless it is a whole number, and nothing around it."""
    with pytest.raises(Refused):
        keep_alive_s(value)


def test_options_get_llama_cpps_names_and_unknown_ones_are_ignored() -> None:
    """``num_predict`` is ``max_tokens`` there; ``num_ctx`` is for loading; what neither knows does no harm."""
    options = {"num_predict": 5, "temperature": 0, "stop": ["a"], "num_ctx": 99_999, "num_gpu": 3, "top_k": None}
    chat = read_chat({"model": "smollm2", "messages": [{"role": "user", "content": "a"}], "options": options})
    assert chat.request is not None
    assert {key: chat.request[key] for key in ("max_tokens", "temperature", "stop")} == {
        "max_tokens": 5,
        "temperature": 0,
        "stop": ["a"],
    }
    assert "num_gpu" not in chat.request
    assert chat.context == 8192


def test_tool_calls_go_there_as_text_and_come_back_as_objects() -> None:
    """Ollama has a call's arguments as an object, llama.cpp as JSON text that a stream delivers in pieces."""
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    chat = read_chat({"model": "smollm2", "messages": messages})
    assert chat.request is not None
    sent = chat.request["messages"][1]["tool_calls"][0]["function"]
    assert json.loads(sent["arguments"]) == {"city": "Paris"}
    answer = Answer()
    for piece in ({"name": "weather", "arguments": '{"city": '}, {"arguments": '"Paris"}'}):
        answer.take({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": piece}]}}]})
    assert answer.tool_calls == [call]


def test_a_call_whose_arguments_were_cut_off_is_left_out() -> None:
    """A completion that reached its limit in the middle of a call has no such call."""
    answer = Answer()
    piece = {"name": "weather", "arguments": '{"ci'}
    answer.take({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": piece}]}, "finish_reason": "length"}]})
    assert answer.tool_calls == []
    assert answer.stats(1, 0)["done_reason"] == "length"


def test_the_whole_prompt_is_counted_though_part_of_it_was_cached() -> None:
    """``prompt_eval_count`` is the prompt's tokens, as in Ollama, not only those that were new."""
    answer = Answer()
    timings = {"cache_n": 30, "prompt_n": 4, "prompt_ms": 1.5, "predicted_n": 2, "predicted_ms": 3.0}
    answer.take({"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": timings})
    assert answer.stats(9, 1) == {
        "done_reason": "stop",
        "total_duration": 9,
        "load_duration": 1,
        "prompt_eval_count": 34,
        "prompt_eval_duration": 1_500_000,
        "eval_count": 2,
        "eval_duration": 3_000_000,
    }
