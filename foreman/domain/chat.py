"""Ollama's native chat payload, as far as foreman looks into it: enough that a body which cannot work is refused.

Source of the shapes: ``ChatRequest`` and ``Message`` in Ollama's ``api/types.go``. A key that is not named here is
forwarded untouched, and ``null`` counts as absent, as it does in Go.
"""

from __future__ import annotations

from typing import Any

from foreman.domain.json_value import Findings
from foreman.domain.preload import KEEP_ALIVE
from foreman.domain.shape import Array, Member, Object, OneOf, Rule, Text, Typed

#: Who can say something. ``developer`` and ``control`` are OpenAI's and Granite's; case does not matter to Ollama.
ROLES = ("system", "user", "assistant", "tool", "developer", "control")
#: Characters. Ollama's longest name: host 350, then namespace, model and tag of 80, with a separator before each.
#: Source: ``isValidLen`` in Ollama's ``types/model/name.go``.
MAX_MODEL_CHARS = 350 + 3 * 81
#: What may stand in place of ``content``.
_INSTEAD_OF_CONTENT = ("tool_calls", "images", "thinking")


def _content_or_instead(message: dict[str, Any], pointer: str, found: Findings) -> None:
    if message.get("content") is None and not any(message.get(key) for key in _INSTEAD_OF_CONTENT):
        found.add(f"{pointer}/content", f"is required, unless there is one of {', '.join(_INSTEAD_OF_CONTENT)}")


#: A NUL could not be stored in PostgreSQL, and a line break would end the line of a log or a metric.
MODEL = Text(
    "must be a string with more than blanks and without control characters",
    pattern=r" *[^\x00-\x20\x7f][^\x00-\x1f\x7f]*",
    max_chars=MAX_MODEL_CHARS,
)
MODEL_MEMBER = Member("model", MODEL, "The name of the model.", needed="is required: the name of the model")

OBJECTS = Array(Typed(("object",), "must be an object"), "must be a list of objects")

MESSAGE = Object(
    name="Message",
    about="Has `content`, or in its place tool calls, images or thoughts.",
    members=(
        Member("role", OneOf(ROLES, any_case=True), needed=f"must be one of {', '.join(ROLES)}"),
        Member("content", Text("must be a string")),
        Member("thinking", Text("must be a string"), "What a model thought before it answered."),
        Member("tool_calls", OBJECTS, "Calls of tools that a model asked for."),
        Member(
            "images",
            Array(Text("must be a base64 string"), "must be a list of base64 strings"),
            "Images, each in base64.",
        ),
    ),
    rules=(
        Rule(
            _content_or_instead,
            {
                "anyOf": [
                    {"required": ["content"], "properties": {"content": {"type": "string"}}},
                    {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
                    {"required": ["images"], "properties": {"images": {"type": "array", "minItems": 1}}},
                    {"required": ["thinking"], "properties": {"thinking": {"type": "string", "minLength": 1}}},
                ]
            },
        ),
    ),
)

#: What may stand beside the model and the messages, with a form of its own.
OPTIONAL = (
    Member("tools", OBJECTS, "Tools that the model may ask for."),
    Member(
        "format",
        Typed(("string", "object"), 'must be "json" or a JSON schema object'),
        "`json`, or the JSON Schema that the answer is to fit.",
    ),
    Member("options", Typed(("object",), "must be an object"), "`temperature`, `seed`, `num_ctx` and so on."),
    Member("think", Typed(("boolean", "string"), "must be true, false or a string"), "Whether, or how hard, to think."),
    Member("keep_alive", KEEP_ALIVE, "How long the model stays in memory: seconds, or a duration such as `5m`."),
)

#: Every key that foreman looks into, but for its own.
MEMBERS = (
    MODEL_MEMBER,
    Member(
        "messages",
        Array(MESSAGE, "must be a list"),
        "The conversation so far. Empty: load the model, or unload it with a `keep_alive` of 0.",
        needed="is required: a list of messages, empty to load or unload the model",
    ),
    *OPTIONAL,
    Member(
        "stream",
        Typed(("boolean",), "must be true or false (and is ignored: a job yields one completion)"),
        "Of a job ignored: it yields one completion.",
    ),
)
