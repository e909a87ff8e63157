from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import fault
from foreman.domain.completion import Assembly, Completion
from foreman.domain.job import JobFailure
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import Cause
from foreman.domain.synchronous import Told, status_of, words_of

MODEL = "tiny"

#: Messages of lines as an upstream may send them, halves of a surrogate pair included.
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.just("assistant")},
        optional={
            "content": st.text(st.characters() | st.sampled_from("\ud83d\ude00"), max_size=4),
            "thinking": st.text(max_size=4),
            "tool_calls": st.lists(st.just({"function": {"name": "f", "arguments": {}}}), max_size=2),
        },
    ),
    min_size=1,
    max_size=8,
)


def completion(lines: list[bytes]) -> bytes:
    """What ``lines`` amount to."""
    assembly = Assembly(10**6)
    for line in lines:
        assembly.feed(line)
    made = assembly.finish()
    assert isinstance(made, Completion)
    return made.body


@given(MESSAGES, st.data())
def test_what_was_told_and_the_rest_are_the_whole(messages: list[dict[str, object]], data: st.DataObject) -> None:
    """Wherever the stream was lost, one more line makes the answer what it would have been."""
    values = [{"model": MODEL, "message": message, "done": False} for message in messages]
    values[-1]["done"] = True
    lines = [json.dumps(value).encode() for value in values]
    whole = completion(lines)
    told = Told()
    count = data.draw(st.integers(0, len(values) - 1))
    for line in lines[:count]:
        told.add(json.loads(line))
    rest = told.rest(json.loads(whole))
    assert json.loads(completion([*lines[:count], compact(rest)])) == json.loads(whole)


def test_probabilities_are_told_once() -> None:
    """``logprobs`` are collected as text is."""
    told = Told()
    told.add({"message": {"content": "a"}, "logprobs": [1]})
    rest = told.rest({"message": {"role": "assistant", "content": "ab"}, "logprobs": [1, 2], "done": True})
    assert rest == {"message": {"role": "assistant", "content": "b"}, "logprobs": [2], "done": True}


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [
        (fault.answered(404, '{"error": "model \\"tiny\\" not found"}').failure(), 404, "model 'tiny' not found"),
        (fault.reported("model 'tiny' not found").failure(), 404, "model 'tiny' not found"),
        (fault.answered(400, '{"error": "tiny does not support tools"}').failure(), 400, "tiny does not support tools"),
        (fault.answered(400, "").failure(), 400, "The upstream answered 400."),
        (fault.answered(500, '{"error": "out of memory"}').failure(), 500, "out of memory"),
        (fault.answered(503, '{"error": "busy"}').failure(), 503, "busy"),
        (fault.answered(301, "").failure(), 502, "The upstream answered 301."),
        (fault.reported("CUDA error").failure(), 502, "CUDA error"),
        (fault.not_connected("refused the connection").failure(), 502, "The upstream refused the connection."),
        (fault.ended_early().failure(), 502, "The upstream ended its answer without saying that it was done."),
        (fault.load_timeout(3).failure(), 504, "The model was not loaded within 3 s."),
        (fault.exec_timeout(3).failure(), 504, "The upstream did not finish within 3 s."),
        (fault.stalled(3).failure(), 504, "The upstream sent nothing for 3 s."),
        (JobFailure(Cause.CANCELLED, "the job was cancelled"), 499, "the job was cancelled"),
    ],
)
def test_a_failure_is_told_as_ollama_would(failure: JobFailure, status: int, words: str) -> None:
    """The upstream's own status and words where it has some, since clients look into them."""
    assert (status_of(failure), words_of(failure, MODEL)) == (status, words)


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_an_error_status(cause: Cause) -> None:
    """Whatever a job fails of, its client is not told 200."""
    assert 400 <= status_of(JobFailure(cause, "no")) < 600
