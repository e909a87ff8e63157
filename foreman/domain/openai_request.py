"""A native chat payload → OpenAI's ``POST /v1/chat/completions``, or what in it that API has no words for.

What is translated, and how; the source is ``vllm/entrypoints/openai/chat_completion/protocol.py`` in vLLM and
``tools/server/server-common.cpp`` in llama.cpp, and for the native side ``api/types.go`` in Ollama::

    messages[].images        → content parts, image_url with a data URL
    messages[].thinking      → reasoning_content
    messages[].tool_calls    → arguments as text, each call with an id that the tool's message repeats
    format "json" | schema   → response_format json_object | json_schema
    think true|false         → chat_template_kwargs.enable_thinking (vLLM and llama.cpp; others ignore it)
    think "low"|…            → reasoning_effort, and the same in chat_template_kwargs for older llama.cpp
    options                  → _OPTIONS by name; num_predict → max_tokens
    tools, logprobs, …       → untouched, and so is every key that is not Ollama's: tool_choice, logit_bias, …

Dropped, since they tune and do not change what is asked for: ``keep_alive``, ``truncate``, ``shift``, and all other
``options``: the server was started with its own context, threads and layers, and ``repeat_penalty``, ``mirostat`` and
the like have no name that these servers share. Ollama ignores an option it does not know, too.

Refused, since the answer would be to another question: ``_INEXPRESSIBLE``, a ``format`` or ``think`` of no known kind,
more than one choice, an image of unknown type, a tool call without a name, and unloading a model.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from foreman.domain.fault import Fault
from foreman.domain.json_value import compact, is_number
from foreman.domain.lifecycle import Cause
from foreman.domain.preload import preload

#: Options that go under their own name. ``top_k`` and ``min_p`` are not OpenAI's, and known to all local servers.
_OPTIONS = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty")
#: Keys of the payload that are translated or dropped; all others go as they are.
_NATIVE = frozenset({"messages", "tools", "format", "options", "keep_alive", "think", "truncate", "shift"})
#: Keys that ask for something else than a chat. Falsy, they ask for nothing and are dropped.
_INEXPRESSIBLE = ("raw", "template", "suffix", "context", "_debug_render_only")
#: What ``think`` may be besides true and false; Ollama refuses other words as well.
_EFFORTS = ("low", "medium", "high")
#: Keys of a message that are translated; all others, ``name`` say, go as they are.
_NATIVE_IN_MESSAGE = frozenset({"role", "content", "images", "thinking", "tool_calls", "tool_name", "tool_call_id"})

#: How an image begins, and what it is then. Source: WHATWG MIME Sniffing, section 6.1.
_MEDIA_TYPES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)
#: Base64 characters that are decoded to see how an image begins: 18 bytes, of which WebP's mark takes 12.
_HEAD_CHARS = 24


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask the server: ``body`` is the JSON of the chat, ``None`` when there is nothing to generate."""

    model: str
    body: bytes | None


def read(payload: bytes) -> Request | Fault:
    """The request that a job's ``payload``, valid as ``domain.chat`` has it, amounts to; the fault is never retried."""
    job = json.loads(payload)
    for pointer, why in _inexpressible(job):
        message = f"The upstream cannot be asked for {pointer}: {why}."
        return Fault(Cause.UPSTREAM_REJECTED, message, retry=False, began=False)
    if not job["messages"]:
        if preload(payload) is None:
            message = "The upstream cannot unload a model: the OpenAI API has no call for it."
            return Fault(Cause.UPSTREAM_REJECTED, message, retry=False, began=False)
        return Request(job["model"], None)
    body = {key: value for key, value in job.items() if key not in _NATIVE and key not in _INEXPRESSIBLE}
    body |= _thinking(job) | _format(job.get("format"))
    body |= _options(job.get("options") or {}) | _tools(job.get("tools"))
    body |= {"messages": _messages(job["messages"]), "stream": True, "stream_options": {"include_usage": True}}
    return Request(job["model"], compact(body))


# ------------------------------------------------------------------------------------------------------- refusing


def _inexpressible(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """``(pointer, why)`` of each thing that cannot be asked for."""
    for key in _INEXPRESSIBLE:
        if job.get(key):
            yield f"/{key}", "the OpenAI API has no such key"
    if job.get("n") not in (None, 1):
        yield "/n", "a job yields one completion"
    if isinstance(job.get("format"), str) and job["format"] not in ("", "json"):
        yield "/format", 'it must be "json" or a JSON schema'
    if isinstance(job.get("think"), str) and job["think"] not in _EFFORTS:
        yield "/think", f"it must be true, false or one of {', '.join(_EFFORTS)}"
    limit = (job.get("options") or {}).get("num_predict")
    if limit is not None and not is_number(limit):
        yield "/options/num_predict", "it must be a number of tokens"
    for index, message in enumerate(job["messages"]):
        yield from _inexpressible_in(message, f"/messages/{index}")


def _inexpressible_in(message: dict[str, Any], pointer: str) -> Iterator[tuple[str, str]]:
    for index, image in enumerate(message.get("images") or ()):
        if _media_type(image) is None:
            yield f"{pointer}/images/{index}", "it is not the base64 of a PNG, JPEG, GIF, WebP or BMP image"
    for index, call in enumerate(message.get("tool_calls") or ()):
        match call:
            case {"function": {"name": str()}}:
                pass
            case _:
                yield f"{pointer}/tool_calls/{index}", "it names no function"


# ------------------------------------------------------------------------------------------------------- keys


def _thinking(job: dict[str, Any]) -> dict[str, Any]:
    # A client that writes these itself knows the server better.
    given = kwargs if isinstance(kwargs := job.get("chat_template_kwargs"), dict) else {}
    match job.get("think"):
        case bool(think):
            return {"chat_template_kwargs": {"enable_thinking": think} | given}
        case str(think):
            return {"reasoning_effort": think, "chat_template_kwargs": {"reasoning_effort": think} | given}
        case _:
            return {}


def _format(value: str | dict[str, Any] | None) -> dict[str, Any]:
    match value:
        case dict():
            # Strict, since Ollama lets a model write nothing else than what the schema allows.
            schema = {"name": "answer", "strict": True, "schema": value}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case "json":
            return {"response_format": {"type": "json_object"}}
        case _:
            return {}


def _options(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    # -1 and -2 mean as many tokens as it takes, or as fit: what a server does when it is told nothing.
    limit = options.get("num_predict")
    return given if limit is None or limit < 1 else given | {"max_tokens": int(limit)}


def _tools(tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    # An empty list is refused by some servers; ``type`` may be left out in Ollama only.
    return {"tools": [{"type": "function"} | tool for tool in tools]} if tools else {}


# ------------------------------------------------------------------------------------------------------- messages


class _Ids:
    """Which id a tool call has, and which call the message of a tool answers: OpenAI's go by id, Ollama's by order."""

    def __init__(self, taken: Iterable[object]) -> None:
        self._taken = set(map(str, taken))
        self._count = 0
        #: ``(function, id)`` of the calls that nothing has answered yet, oldest first.
        self._open: list[tuple[str, str]] = []

    def of_call(self, call: dict[str, Any]) -> str:
        """The id of ``call``: its own, or one made up."""
        call_id = str(call.get("id") or self._made_up())
        self._open.append((call["function"]["name"], call_id))
        return call_id

    def of_answer(self, message: dict[str, Any]) -> str:
        """The id of the call that a tool's ``message`` answers: as it says, else the first open one of its name."""
        given, name = str(message.get("tool_call_id") or ""), message.get("tool_name") or message.get("name")
        matches = [each for each in self._open if each[1] == given]
        if not given:
            matches = [each for each in self._open if each[0] == name] or self._open
        if not matches:
            return given or self._made_up()
        self._open.remove(match := matches[0])
        return match[1]

    def _made_up(self) -> str:
        while True:
            self._count += 1
            # Nine letters and digits, which is all that the templates of Mistral's models accept.
            call_id = f"call{self._count:05d}"
            if call_id not in self._taken:
                return call_id


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    given = [message.get("tool_call_id") for message in messages]
    given += [call.get("id") for message in messages for call in message.get("tool_calls") or ()]
    ids = _Ids(given)
    return [_message(message, ids) for message in messages]


def _message(message: dict[str, Any], ids: _Ids) -> dict[str, Any]:
    rest = {key: value for key, value in message.items() if key not in _NATIVE_IN_MESSAGE and value is not None}
    role = message["role"].lower()
    written = {"role": role, "content": _content(message)} | rest
    if message.get("thinking"):
        written["reasoning_content"] = message["thinking"]
    if calls := message.get("tool_calls"):
        written["tool_calls"] = [_tool_call(call, ids) for call in calls]
    if role == "tool":
        written["tool_call_id"] = ids.of_answer(message)
        if message.get("tool_name"):
            written["name"] = message["tool_name"]
    return written


def _content(message: dict[str, Any]) -> str | list[dict[str, Any]]:
    # Never null, although that is allowed beside tool calls: many a chat template would write "None".
    text = message.get("content") or ""
    images = message.get("images")
    if not images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return parts + [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]


def _data_url(image: str) -> str:
    return f"data:{_media_type(image)};base64,{_without_spaces(image)}"


def _media_type(image: str) -> str | None:
    try:
        head = base64.b64decode(_without_spaces(image[: 2 * _HEAD_CHARS])[:_HEAD_CHARS], validate=True)
    except (binascii.Error, ValueError):
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _MEDIA_TYPES if head.startswith(mark)), None)


def _without_spaces(image: str) -> str:
    """``base64`` on the command line breaks lines, and Go's decoder, Ollama's, takes them."""
    return "".join(image.split())


def _tool_call(call: dict[str, Any], ids: _Ids) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        # Text already, from a client that keeps OpenAI's form in its history, is passed on as it is.
        arguments = compact({} if arguments is None else arguments).decode()
    return {
        "id": ids.of_call(call),
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
