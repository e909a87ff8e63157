"""What ``POST /v1/chat/completions`` takes: OpenAI's chat as far as foreman translates it, and foreman's own keys.

Source of the shapes: OpenAI's API reference, "Chat"; see ``openai_front.py`` for what becomes of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from foreman.domain import chat
from foreman.domain.chat import MODEL_MEMBER, ROLES
from foreman.domain.json_value import Findings
from foreman.domain.shape import Array, ByType, Member, Number, Object, OneOf, Schema, Text, Typed, Variants
from foreman.domain.submission import EVENTS_NEED_A_URL, OWN

#: ``reasoning_effort`` → ``think``.
EFFORTS = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}

_TEXT = Text("must be a string")
_NUMBER = Typed(("number",), "must be a number")
_BOOLEAN = Typed(("boolean",), "must be true or false")
_OBJECT = Typed(("object",), "must be an object")

_IMAGE = "must have a data URL in base64: foreman fetches no image"
_DATA_URL = Text(_IMAGE, pattern=r"data:[^,]*;base64,[\s\S]*")
_FORMAT = "must be of type text, json_object, or json_schema with a schema"
_STOP = "must be a string or a list of strings"
_NAMELESS = "must name a function"


@dataclass(frozen=True, slots=True)
class _Arguments:
    """A JSON object as text; empty: one without members."""

    right = "must be a JSON object, as text"
    types = ("string",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Read it."""
        if not isinstance(value, str) or arguments(value) is None:
            found.add(pointer, self.right)

    def schema(self) -> Schema:
        """A string; that there is an object in it is for the format to say."""
        return {"type": "string", "format": "json-object"}


def arguments(value: object) -> dict[str, Any] | None:
    """The arguments of a call, which OpenAI has as text; ``None``: they are no object."""
    try:
        read = json.loads(value) if isinstance(value, str) and value else value or {}
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


_SAID = Object((Member("text", _TEXT, needed="is required"),))
_PARTS = Variants(
    "type",
    {
        "text": _SAID,
        "input_text": _SAID,
        "refusal": Object((Member("refusal", _TEXT, needed="is required"),)),
        "image_url": Object(
            (
                Member(
                    "image_url",
                    ByType((_DATA_URL, Object((Member("url", _DATA_URL, needed=_IMAGE),))), _IMAGE),
                    needed=_IMAGE,
                ),
            )
        ),
    },
    "must be of type text or image_url",
)
_CALL = Object(
    (
        Member(
            "function",
            Object(
                (
                    Member("name", _TEXT, needed=_NAMELESS),
                    Member("arguments", ByType((_Arguments(), _OBJECT), _Arguments.right), "A JSON object, as text."),
                )
            ),
            needed=_NAMELESS,
        ),
    )
)
OPENAI_MESSAGE = Object(
    name="OpenAIMessage",
    members=(
        Member("role", OneOf(ROLES, any_case=True), needed=f"must be one of {', '.join(ROLES)}"),
        Member("content", ByType((_TEXT, Array(_PARTS, "must be a list")), "must be a string or a list of parts")),
        Member("reasoning", _TEXT, "What a model thought before it answered."),
        Member("reasoning_content", _TEXT, "The same, as some servers call it."),
        Member("thinking", _TEXT, "The same, as Ollama calls it."),
        Member("tool_calls", Array(_CALL, "must be a list of objects"), "Calls of tools that a model asked for."),
        Member("images", Array(_TEXT, "must be a list of base64 strings"), "Images as Ollama has them."),
    ),
)
_FORMATS = Variants(
    "type",
    {
        "text": Object(()),
        "json_object": Object(()),
        "json_schema": Object(
            (Member("json_schema", Object((Member("schema", _OBJECT, needed=_FORMAT),)), needed=_FORMAT),)
        ),
    },
    _FORMAT,
)

CHAT_COMPLETION = Object(
    name="ChatCompletionRequest",
    about="An OpenAI chat and foreman's own keys. What is not named here becomes part of the job as it is.",
    right="must be a JSON object",
    members=(
        MODEL_MEMBER,
        Member(
            "messages",
            Array(OPENAI_MESSAGE, "must be a list of one message or more", at_least=1),
            "The conversation so far.",
            needed="must be a list of one message or more",
        ),
        Member("stream", _BOOLEAN, "Whether to answer in server-sent events as the text comes."),
        Member("stream_options", Object((Member("include_usage", _BOOLEAN),)), "`include_usage`: count the tokens."),
        Member("n", Number(1, 1, "must be 1: a job yields one completion", whole=True), "1: one completion."),
        Member("response_format", _FORMATS, "`json_object`, or the JSON Schema that the answer is to fit."),
        Member("reasoning_effort", OneOf(tuple(EFFORTS)), "How hard to think."),
        Member("temperature", _NUMBER),
        Member("top_p", _NUMBER),
        Member("seed", _NUMBER),
        Member("stop", ByType((_TEXT, Array(_TEXT, _STOP)), _STOP)),
        Member("presence_penalty", _NUMBER),
        Member("frequency_penalty", _NUMBER),
        Member("max_tokens", _NUMBER),
        Member("max_completion_tokens", _NUMBER),
        *chat.OPTIONAL,
        *OWN,
    ),
    rules=(EVENTS_NEED_A_URL,),
)
