"""What was asked and what was answered, taken from their JSON for reading: all of it text, whatever it claims to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foreman.api.ui import wording

#: Bytes of a request that are taken apart for reading; of a longer one, with images in it, the beginning is shown.
MOST_B = 2**20


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: str
    content: str
    thinking: str = ""
    #: Tool calls, images and whatever else it has, as JSON; empty without any.
    more: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What was sent upstream."""

    messages: tuple[Message, ...]
    #: The whole of it, or its beginning.
    whole: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the upstream says that it took; ``None`` where it does not say."""

    prompt_tokens: int | None
    tokens: int | None
    tokens_per_s: float | None
    total_ms: float | None


def request_of(payload: bytes) -> Request:
    """The request with this body."""
    body = _decoded(payload) if len(payload) <= MOST_B else None
    if not isinstance(body, dict):
        return Request((), wording.cut(payload[: 4 * wording.SHOWN_CHARS].decode(errors="replace")))
    messages = body.get("messages")
    found = tuple(map(message_of, messages)) if isinstance(messages, list) else ()
    return Request(found, wording.pretty(body))


def answer_of(completion: bytes) -> Message | None:
    """The message of a completion; ``None`` if it has none."""
    body = _decoded(completion)
    message = body.get("message") if isinstance(body, dict) else None
    return None if message is None else message_of(message)


def message_of(message: object) -> Message:
    """A message in Ollama's form, or something else in its place."""
    if not isinstance(message, dict):
        return Message("?", "", more=wording.pretty(message))
    rest = {key: value for key, value in message.items() if key not in {"role", "content", "thinking"}}
    return Message(
        role=_text(message.get("role", "?")),
        content=wording.cut(_text(message.get("content", ""))),
        thinking=wording.cut(_text(message.get("thinking", ""))),
        more=wording.pretty(rest) if rest else "",
    )


def figures_of(stats: Mapping[str, Any] | None) -> Figures | None:
    """What stats, which are the upstream's and may hold anything, say in numbers."""
    if stats is None:
        return None
    tokens, took_ns = _number(stats.get("eval_count")), _number(stats.get("eval_duration"))
    prompt_tokens, total_ns = _number(stats.get("prompt_eval_count")), _number(stats.get("total_duration"))
    return Figures(
        prompt_tokens=None if prompt_tokens is None else round(prompt_tokens),
        tokens=None if tokens is None else round(tokens),
        tokens_per_s=tokens * 1e9 / took_ns if tokens and took_ns else None,
        total_ms=None if total_ns is None else total_ns / 1e6,
    )


def _decoded(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else wording.pretty(value)


def _number(value: object) -> float | None:
    """A number that can be divided by and shown: JSON has others."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63
    return float(value) if usable else None  # type: ignore[arg-type]  # as just asked
