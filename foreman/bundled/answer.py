"""llama.cpp's chunks, gathered and turned into the lines of an answer in Ollama's protocol; pure.

A line (github.com/ollama/ollama, ``docs/api.md``); all but the last have no stats and ``"done": false``::

    {"model", "created_at", "message": {"role", "content", "tool_calls"?}, "done", "done_reason"?,
     "total_duration"?, "load_duration"?, "prompt_eval_count"?, "prompt_eval_duration"?, "eval_count"?,
     "eval_duration"?}                                                                    # durations in nanoseconds
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_NS_PER_MS = 1e6


@dataclass(slots=True)
class Answer:
    """What llama.cpp has said so far to one request; fed chunk by chunk, read when ``finished``."""

    text: str = ""
    finish_reason: str | None = None
    #: ``(status, message)`` of a chunk that was an error.
    error: tuple[int, str] | None = None
    _timings: dict[str, Any] = field(default_factory=dict)
    #: Name and arguments so far of each call, by its index.
    _calls: dict[int, list[str]] = field(default_factory=dict)

    def take(self, chunk: dict[str, Any]) -> str:
        """Take in one chunk of an OpenAI-style stream; return the text it adds, ``""`` for none."""
        if "error" in chunk:
            fault = chunk["error"]
            self.error = (int(fault.get("code", 500)), str(fault.get("message", "llama.cpp failed")))
            return ""
        self._timings = chunk.get("timings") or self._timings
        added = ""
        for choice in chunk.get("choices", ()):
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            delta = choice.get("delta") or {}
            added += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                self._take_call(call)
        self.text += added
        return added

    def _take_call(self, call: dict[str, Any]) -> None:
        parts = self._calls.setdefault(int(call.get("index", 0)), ["", ""])
        function = call.get("function") or {}
        parts[0] += function.get("name") or ""
        parts[1] += function.get("arguments") or ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls in order, in Ollama's form; one whose arguments were cut off is left out."""
        calls = []
        for _, (name, arguments) in sorted(self._calls.items()):
            try:
                decoded = json.loads(arguments or "{}")
            except ValueError:
                continue
            calls.append({"function": {"name": name, "arguments": decoded}})
        return calls

    def stats(self, total_ns: int, load_ns: int) -> dict[str, Any]:
        """The keys that end an answer, in Ollama's order."""
        timings = self._timings
        return {
            "done_reason": "length" if self.finish_reason == "length" else "stop",
            "total_duration": total_ns,
            "load_duration": load_ns,
            # Ollama counts the whole prompt, also what was still in the cache.
            "prompt_eval_count": int(timings.get("prompt_n", 0)) + int(timings.get("cache_n", 0)),
            "prompt_eval_duration": int(timings.get("prompt_ms", 0) * _NS_PER_MS),
            "eval_count": int(timings.get("predicted_n", 0)),
            "eval_duration": int(timings.get("predicted_ms", 0) * _NS_PER_MS),
        }


def value(
    model: str,
    created_at: str,
    text: str = "",
    calls: list[dict[str, Any]] | None = None,
    end: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One line of an answer, or a whole one; ``end`` makes it the last, with these keys."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = calls
    return {"model": model, "created_at": created_at, "message": message, "done": end is not None} | (end or {})


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8; a lone surrogate, which JSON can name and UTF-8 cannot, becomes ``?``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
