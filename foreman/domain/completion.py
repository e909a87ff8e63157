"""Ollama's stream, line by line → one completion: what is joined, what the last line decides, and what is no answer."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from foreman.domain import fault
from foreman.domain.fault import Fault
from foreman.domain.job import Artifact
from foreman.domain.json_value import is_unicode

#: Parts of a message that grow line by line, and so are joined in order of arrival.
_TEXTS = ("content", "thinking")
_LISTS = ("tool_calls", "images")


@dataclass(frozen=True, slots=True)
class Completion:
    """The native response object: ``body`` as JSON bytes, ``stats`` as values without what was generated."""

    body: bytes
    stats: dict[str, Any]


#: A count of tokens that is believed: a thousand times what the longest context holds.
_TOKENS_LIMIT = 2**40


def tokens(stats: dict[str, Any]) -> dict[str, int]:
    """How many tokens a completion took, ``prompt`` and ``completion``, as far as the upstream says."""
    said = {"prompt": stats.get("prompt_eval_count"), "completion": stats.get("eval_count")}
    return {kind: count for kind, count in said.items() if type(count) is int and 0 < count < _TOKENS_LIMIT}


def partial_of(job_id: str, text: str) -> Artifact | None:
    """The artifact ``partial`` of a job that failed and had generated ``text``; ``None`` if that is empty."""
    # A model's JSON may hold half of a surrogate pair, which UTF-8 cannot.
    return (
        artifact_of(job_id, "partial", "text/plain; charset=utf-8", text.encode("utf-8", "replace")) if text else None
    )


def artifact_of(job_id: str, name: str, content_type: str, data: bytes) -> Artifact:
    """The artifact that ``data`` are the bytes of."""
    return Artifact(job_id, name, content_type, len(data), hashlib.sha256(data).hexdigest(), data)


def text_in(body: bytes) -> str:
    """The ``content`` of a completion, by its ``body``."""
    return str(json.loads(body)["message"]["content"])


class _Text:
    """A text that grows by very many, very short pieces; kept so that a piece of one letter takes about one byte."""

    #: Pieces that are joined into one. A Python string has some 50 bytes of its own, whatever its length.
    _JOIN = 4096

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        if len(self._pieces) >= self._JOIN:
            self._joined.append("".join(self._pieces))
            self._pieces.clear()

    def __str__(self) -> str:
        return "".join((*self._joined, *self._pieces))


class Assembly:
    """Takes the lines of one stream in order, and holds no more than ``limit_b`` bytes of what was generated.

    The shape of a line, from Ollama's ``docs/api.md``::

        {"model": …, "created_at": …, "message": {"role": "assistant", "content": "Hel"}, "done": false}
        {"model": …, "created_at": …, "message": {…}, "done": true, "done_reason": "stop", "eval_count": …, …}
    """

    def __init__(self, limit_b: int) -> None:
        self._limit_b = limit_b
        self._size_b = 0
        self._texts = {key: _Text() for key in _TEXTS}
        self._lists: dict[str, list[Any]] = {key: [] for key in _LISTS}
        self._message: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self._last: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        """Whether the upstream has said ``"done": true``."""
        return self._last is not None

    @property
    def text(self) -> str:
        """The ``content`` that has arrived so far."""
        return str(self._texts["content"])

    def feed(self, line: bytes) -> dict[str, Any] | Fault:
        """Take the next ``line``, without its line break, and return it decoded."""
        chunk = _decode(line)
        if isinstance(chunk, Fault):
            return chunk
        if problem := self._absorb(chunk, len(line)):
            return problem
        if chunk.get("done") is True:
            self._last = chunk
        return chunk

    def finish(self) -> Completion | Fault:
        """The completion, once the stream has ended or is ``done``."""
        if self._last is None:
            return fault.ended_early()
        generated: dict[str, Any] = {"message": self._whole_message()}
        if self._logprobs:
            generated["logprobs"] = self._logprobs
        try:
            # A key that the last line has stays where that has it, as in what Ollama itself does not stream.
            body = _encode(self._last | generated)
        except (ValueError, RecursionError):
            return fault.unreadable("numbers or nesting that JSON cannot hold")
        return Completion(body=body, stats=_stats(self._last))

    def _absorb(self, chunk: dict[str, Any], size_b: int) -> Fault | None:
        message = chunk.get("message") or {}
        if not isinstance(message, dict):
            return fault.unreadable("a message that is not an object")
        for key, value in message.items():
            if value is None:
                continue
            if not self._take(key, value, size_b):
                return fault.unreadable(f"a message whose {key} is of the wrong type")
        if isinstance(logprobs := chunk.get("logprobs"), list):
            self._logprobs += logprobs
            self._size_b += size_b
        return fault.too_large(self._limit_b) if self._size_b > self._limit_b else None

    def _take(self, key: str, value: object, size_b: int) -> bool:
        """Add one part of a message; whether it was of the type it must be. ``size_b`` is that of its whole line."""
        if key in _TEXTS:
            if not isinstance(value, str):
                return False
            self._texts[key].add(value)
            self._size_b += len(value.encode(errors="surrogatepass"))
        elif key in _LISTS:
            if not isinstance(value, list):
                return False
            self._lists[key] += value
            self._size_b += size_b
        else:
            self._message[key] = value
        return True

    def _whole_message(self) -> dict[str, Any]:
        """The message in the order Ollama writes it; ``content`` is always there, the rest where there is some."""
        message = {"role": "assistant", "content": self.text} | self._message
        if thinking := str(self._texts["thinking"]):
            message["thinking"] = thinking
        return message | {key: items for key, items in self._lists.items() if items}


def _decode(line: bytes) -> dict[str, Any] | Fault:
    try:
        chunk = json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return fault.unreadable("a line that is not JSON")
    match chunk:
        case {"error": str(text)} | {"error": {"message": str(text)}} if text:
            return fault.reported(text)
        case {"error": error} if error:
            return fault.reported("")
        case dict():
            return chunk
        case _:
            return fault.unreadable("a line that is not a JSON object")


def _refuse_constant(name: str) -> NoReturn:
    """``NaN`` and its like are Python's own idea of JSON; a client could not read them back."""
    raise ValueError(name)


def _finite(text: str) -> float:
    """Python reads ``1e999`` as infinity, which nobody who is handed the answer could write again."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _stats(last: dict[str, Any]) -> dict[str, Any]:
    """The last line without what was generated, ``logprobs`` included: they are as many as the tokens."""
    stats = {key: value for key, value in last.items() if key not in ("message", "logprobs")}
    decoded: dict[str, Any] = json.loads(_encode(stats))
    return decoded


def _encode(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not is_unicode(text):
        # A character outside the first plane may come as "\ud83d" in one line and "\ude00" in the next: a round trip
        # through UTF-16 joins the halves, and a half that stays alone becomes U+FFFD.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.encode()
