"""A streamed answer of ``POST /v1/chat/completions``, line by line → the lines Ollama would have written.

The stream is server-sent events, one JSON object each; source: OpenAI's API reference, "Chat completion chunk", and the
servers named at each deviation::

    data: {"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": null}]}
    data: {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id", "function": {"name", "arguments"}}]}}]}
    data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data: {"choices": [], "usage": {"prompt_tokens": 26, "completion_tokens": 298}}
    data: [DONE]
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from foreman.domain import fault, openai_fault
from foreman.domain.fault import Fault
from foreman.domain.job import Moment
from foreman.domain.json_value import INTEGERS, is_number
from foreman.domain.moment import rfc3339

#: ``finish_reason``s of an answer that somebody else cut off, in vLLM and SGLang: no completion.
_CUT_OFF = frozenset({"abort", "error"})
#: Where servers put thoughts: llama.cpp and LM Studio in the first, vLLM in the second, or the same text in both.
_THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(slots=True)
class _ToolCall:
    """A tool call as its pieces come in; ``arguments`` is the text of a JSON object, or already the object."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    whole: dict[str, Any] | None = None

    def native(self) -> dict[str, Any] | None:
        """The call in Ollama's form; ``None`` if it has no name, or arguments that are not an object."""
        arguments: Any = self.whole
        if arguments is None:
            try:
                arguments = json.loads("".join(self.pieces) or "{}", parse_constant=_refuse_constant)
            except ValueError:
                return None
        # No arguments at all are nothing to some models, and null to others.
        arguments = {} if arguments is None else arguments
        if not self.name or not isinstance(arguments, dict):
            return None
        named = {"function": {"name": self.name, "arguments": arguments}}
        return {"id": self.id} | named if self.id else named


class Answer:
    """Takes the lines of one answer in order; ``model`` is the name it was asked by, which a server may change.

    A tool call is held back until it is whole, in no more than ``limit_b`` bytes of lines. ``elapsed_ns`` is counted
    from the request. What is measured here is what the caller saw: ``prompt_eval_duration`` is the time to the first
    token, with whatever the server did before, and ``eval_duration`` the time from there to the end.
    """

    def __init__(self, model: str, limit_b: int) -> None:
        self._model = model
        self._limit_b = limit_b
        self._held_b = 0
        self._calls: dict[int, _ToolCall] = {}
        self._usage: dict[str, Any] = {}
        self._finish: str | None = None
        self._first_ns: int | None = None
        self._finish_ns = 0
        self._ended = False

    def take(self, line: bytes, now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        """The native lines that the next ``line``, without its line break, amounts to; often none, at the end two."""
        try:
            return self._take(line, now, elapsed_ns)
        except RecursionError:
            return fault.unreadable("nesting that JSON cannot hold")

    def end(self, now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        """The native lines still due when the stream is over, the last with ``"done": true``.

        A stream that did not say why it finished is a fault: it may have been cut anywhere.
        """
        try:
            return self._end(now, elapsed_ns)
        except RecursionError:
            return fault.unreadable("nesting that JSON cannot hold")

    def _take(self, line: bytes, now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        data = _data(line)
        if data is None:
            return []
        if data == b"[DONE]":
            return self.end(now, elapsed_ns)
        chunk = _decode(data)
        if isinstance(chunk, Fault):
            return chunk
        native = openai_fault.reported(chunk) or self._take_choice(chunk, len(line), now, elapsed_ns)
        if isinstance(native, Fault) or not isinstance(usage := chunk.get("usage"), dict):
            return native
        self._usage = usage
        # With both told there is no more to know. Some servers say ``[DONE]`` late, or never.
        return native if self._finish is None else self._and_end(native, now, elapsed_ns)

    def _end(self, now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        if self._ended:
            return []
        if self._finish is None or self._finish in _CUT_OFF:
            return fault.ended_early()
        calls = self._whole_calls()
        if calls is None:
            return fault.unreadable("a tool call without a name, or whose arguments are not a JSON object")
        self._ended = True
        head = [_line(self._model, now, {"tool_calls": calls})] if calls else []
        return [*head, _line(self._model, now, {}, done=True, **self._stats(elapsed_ns))]

    def _and_end(self, native: list[bytes], now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        last = self.end(now, elapsed_ns)
        return last if isinstance(last, Fault) else native + last

    def _take_choice(self, chunk: dict[str, Any], size_b: int, now: Moment, elapsed_ns: int) -> list[bytes] | Fault:
        choice = _first_choice(chunk)
        if choice is None:
            return []
        delta = choice.get("delta") or choice.get("message") or {}
        reason = choice.get("finish_reason") or None
        if not isinstance(delta, dict) or not isinstance(reason, str | None):
            return fault.unreadable("a choice that is none of OpenAI's")
        if (problem := self._take_calls(delta.get("tool_calls") or [], size_b)) is not None:
            return problem
        message = _message(delta)
        if self._first_ns is None and (message or self._calls):
            self._first_ns = elapsed_ns
        if reason is not None:
            self._finish, self._finish_ns = reason, elapsed_ns
        logprobs = _logprobs(choice)
        return [_line(self._model, now, message, **logprobs)] if message or logprobs else []

    def _take_calls(self, deltas: object, size_b: int) -> Fault | None:
        if not isinstance(deltas, list) or not all(isinstance(delta, dict) for delta in deltas):
            return fault.unreadable("tool calls that are not a list of objects")
        self._held_b += size_b if deltas else 0
        if self._held_b > self._limit_b:
            return fault.too_large(self._limit_b)
        for delta in deltas:
            function = delta.get("function") or {}
            if not isinstance(function, dict):
                return fault.unreadable("a tool call without a function")
            self._extend(self._call_of(delta), delta, function)
        return None

    def _call_of(self, delta: dict[str, Any]) -> _ToolCall:
        """The call that ``delta`` continues, or a new one. A whole call, not streamed, comes without an index."""
        index = delta.get("index")
        if not isinstance(index, int):
            index = len(self._calls) if delta.get("id") or not self._calls else max(self._calls)
        return self._calls.setdefault(index, _ToolCall())

    @staticmethod
    def _extend(call: _ToolCall, delta: dict[str, Any], function: dict[str, Any]) -> None:
        if isinstance(call_id := delta.get("id"), str):
            call.id = call.id or call_id
        if isinstance(name := function.get("name"), str):
            # Not joined: llama.cpp says it once, others again with every piece.
            call.name = call.name or name
        match function.get("arguments"):
            case str(text):
                call.pieces.append(text)
            case dict(whole):
                call.whole = whole
            case _:
                pass

    def _whole_calls(self) -> list[dict[str, Any]] | None:
        """The calls in order; ``None`` if one cannot be read, unless the answer was cut off at its length in it."""
        calls = [call.native() for _, call in sorted(self._calls.items())]
        if self._finish != "length" and None in calls:
            return None
        return [call for call in calls if call is not None]

    def _stats(self, elapsed_ns: int) -> dict[str, Any]:
        """The keys that end an answer, in Ollama's order; a count that the server did not tell is left out."""
        first_ns = self._finish_ns if self._first_ns is None else self._first_ns
        prompt, generated = self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")
        return {
            "done_reason": "length" if self._finish == "length" else "stop",
            "total_duration": elapsed_ns,
            "load_duration": 0,
            **({"prompt_eval_count": prompt} if _is_count(prompt) else {}),
            "prompt_eval_duration": first_ns,
            **({"eval_count": generated} if _is_count(generated) else {}),
            "eval_duration": self._finish_ns - first_ns,
        }


def loaded(model: str, now: Moment) -> bytes:
    """The one native line that answers a job which only loads ``model``."""
    return _line(model, now, {}, done=True, done_reason="load")


def _line(model: str, now: Moment, message: dict[str, Any], *, done: bool = False, **rest: object) -> bytes:
    whole = {"role": "assistant", "content": ""} | message
    line = {"model": model, "created_at": rfc3339(now), "message": whole, "done": done} | rest
    # In ASCII, since half of a surrogate pair, which a token can be, has no other form.
    return json.dumps(line, separators=(",", ":")).encode()


def _data(line: bytes) -> bytes | None:
    """The data of an event's ``line``; ``None`` for a comment, which keeps the connection alive, and for other fields.

    Source: WHATWG HTML, "Server-sent events". Two deviations: ``error:`` is what llama.cpp wrote up to 2025, and a bare
    object is the answer of a server that does not stream.
    """
    if line.startswith(b"{"):
        return line
    name, _, value = line.partition(b":")
    return value.strip() if name in (b"data", b"error") else None


def _decode(data: bytes) -> dict[str, Any] | Fault:
    try:
        chunk = json.loads(data.decode(), parse_constant=_refuse_constant)
    except ValueError:
        return fault.unreadable("an event that is not JSON")
    return chunk if isinstance(chunk, dict) else fault.unreadable("an event that is not a JSON object")


def _refuse_constant(name: str) -> NoReturn:
    """``NaN`` and its like are Python's own idea of JSON; a client could not read them back."""
    raise ValueError(name)


def _first_choice(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """The choice with index 0, the only one that was asked for."""
    choices = chunk.get("choices")
    found = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    return next((choice for choice in found if choice.get("index", 0) == 0), None)


def _message(delta: dict[str, Any]) -> dict[str, Any]:
    """What of ``delta`` is passed on at once. A value of the wrong type is too, for the assembly to refuse."""
    message = {}
    if content := delta.get("content"):
        message["content"] = content
    if thinking := next((delta[key] for key in _THOUGHTS if delta.get(key)), None):
        message["thinking"] = thinking
    return message


def _logprobs(choice: dict[str, Any]) -> dict[str, Any]:
    match choice.get("logprobs"):
        case {"content": [_, *_] as tokens}:
            return {"logprobs": tokens}
        case _:
            return {}


def _is_count(value: object) -> bool:
    return is_number(value) and isinstance(value, int) and value in INTEGERS and value >= 0
