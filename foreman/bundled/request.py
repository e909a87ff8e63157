"""A chat request in Ollama's protocol, checked and turned into llama.cpp's; pure.

As Ollama takes it (github.com/ollama/ollama, ``docs/api.md``; the words of refusals are from ``server/routes.go``)::

    {"model", "messages": [{"role", "content", "tool_calls"?}], "stream"?, "format"?, "tools"?, "keep_alive"?,
     "options"?: {"num_predict", "temperature", "seed", "num_ctx", ...}}
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from foreman.bundled.model import ALIASES, MAX_CONTEXT

_T = TypeVar("_T")

#: Seconds the model stays in memory after its last request: Ollama's ``OLLAMA_KEEP_ALIVE``.
DEFAULT_KEEP_ALIVE_S = 300.0
#: Tokens of context per slot unless ``num_ctx`` says otherwise: Ollama's default of old, and 45 MB per slot here.
DEFAULT_CONTEXT = 2048

_NOT_FOUND = 404
_BAD_REQUEST = 400

#: Units of a Go duration (pkg.go.dev/time#ParseDuration), in seconds.
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:{_DURATION_PART.pattern})+")

#: Ollama option -> llama.cpp's name for it, and the Python types it may have.
_OPTIONS: dict[str, tuple[str, tuple[type, ...], str]] = {
    "num_predict": ("max_tokens", (int,), "integer"),
    "num_keep": ("n_keep", (int,), "integer"),
    "seed": ("seed", (int,), "integer"),
    "top_k": ("top_k", (int,), "integer"),
    "repeat_last_n": ("repeat_last_n", (int,), "integer"),
    "top_p": ("top_p", (int, float), "float32"),
    "min_p": ("min_p", (int, float), "float32"),
    "typical_p": ("typical_p", (int, float), "float32"),
    "temperature": ("temperature", (int, float), "float32"),
    "repeat_penalty": ("repeat_penalty", (int, float), "float32"),
    "presence_penalty": ("presence_penalty", (int, float), "float32"),
    "frequency_penalty": ("frequency_penalty", (int, float), "float32"),
    "stop": ("stop", (list, str), "array"),
}


class Refused(Exception):
    """The request gets ``status`` and ``{"error": message}``, in Ollama's words where Ollama has some."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Chat:
    """A readable chat request. ``request`` is llama.cpp's; it is ``None`` when only a load or unload is asked for."""

    model: str
    stream: bool
    #: Seconds to stay in memory afterwards; 0: leave at once; ``inf``: stay.
    keep_alive_s: float
    context: int
    request: dict[str, Any] | None

    @property
    def unloads(self) -> bool:
        """Whether this is Ollama's way of asking for the memory back: no messages, ``keep_alive`` 0."""
        return self.request is None and self.keep_alive_s == 0


def read_model(body: object) -> str:
    """The ``model`` a request names, as written.

    Raises:
        Refused: not an object, no name, or not a model that is here.
    """
    if not isinstance(body, dict):
        raise Refused(_BAD_REQUEST, "json: cannot unmarshal the body into an object")
    name = body.get("model") or body.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(_BAD_REQUEST, "model is required")
    if name not in ALIASES:
        raise Refused(_NOT_FOUND, f"model '{name}' not found")
    return name


def read_chat(body: object) -> Chat:
    """A decoded body as a request.

    Raises:
        Refused: it is not one.
    """
    model = read_model(body)
    assert isinstance(body, dict)  # noqa: S101 -- read_model has refused all else; this tells the type checker
    stream = _typed(body, "stream", bool, default=True)
    messages = _typed(body, "messages", list, default=[])
    options = _typed(body, "options", dict, default={})
    if body.get("think"):
        raise Refused(_BAD_REQUEST, f'"{model}" does not support thinking')
    sampling, context = _read_options(options)
    request = None
    if messages:
        request = sampling | _read_format(body.get("format")) | {"messages": [_read_message(each) for each in messages]}
        if tools := _typed(body, "tools", list, default=[]):
            request["tools"] = tools
        # Always streamed, so that a client that hung up is noticed; with progress, so that it is during the prompt too.
        request |= {"stream": True, "return_progress": True}
    return Chat(model, stream, keep_alive_s(body.get("keep_alive")), context, request)


def keep_alive_s(value: object) -> float:
    """``keep_alive`` in seconds: a Go duration or a number of seconds; below zero means ``inf``, ``None`` the default.

    ``"-1"`` and ``"600"`` are taken as numbers, as Ollama does in its environment variable.

    Raises:
        Refused: neither.
    """
    if value is None:
        return DEFAULT_KEEP_ALIVE_S
    seconds = _seconds(value)
    if seconds is None or math.isnan(seconds):
        raise Refused(_BAD_REQUEST, f"time: invalid duration {json.dumps(value)}")
    return math.inf if seconds < 0 else seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"[-+]?\d{1,18}", value):
        return float(value)
    if not _DURATION.fullmatch(value):
        return None
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(value))
    return -total_s if value.startswith("-") else total_s


def _typed(body: dict[str, Any], key: str, kind: type[_T], default: _T) -> _T:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise Refused(_BAD_REQUEST, f"json: cannot unmarshal {key} into {kind.__name__}")
    return value


def _read_options(options: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """llama.cpp's sampling parameters, and the context asked for; what neither knows is ignored, as Ollama does."""
    sampling: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _OPTIONS or value is None:
            continue
        theirs, kinds, called = _OPTIONS[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise Refused(_BAD_REQUEST, f'option "{name}" must be of type {called}')
        sampling[theirs] = value
    context = options.get("num_ctx") or DEFAULT_CONTEXT
    if not isinstance(context, int) or isinstance(context, bool):
        raise Refused(_BAD_REQUEST, 'option "num_ctx" must be of type integer')
    return sampling, min(max(context, 1), MAX_CONTEXT)


def _read_format(value: object) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(value, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": value}}}
    raise Refused(_BAD_REQUEST, f'invalid format: {json.dumps(value)}; expected "json" or a valid JSON Schema object')


def _read_message(message: object) -> dict[str, Any]:
    """One message in llama.cpp's form: calls carry their arguments as text there, as an object in Ollama."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Refused(_BAD_REQUEST, "invalid message: role is required")
    if message.get("images"):
        raise Refused(_BAD_REQUEST, "this model is missing data required for image input")
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise Refused(_BAD_REQUEST, "json: cannot unmarshal content into string")
    read: dict[str, Any] = {"role": message["role"], "content": content or ""}
    if calls := _typed(message, "tool_calls", list, default=[]):
        read["tool_calls"] = [_read_call(call) for call in calls]
    return read


def _read_call(call: object) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Refused(_BAD_REQUEST, "invalid tool call: function is required")
    arguments = json.dumps(function.get("arguments") or {})
    return {"type": "function", "function": {"name": str(function.get("name", "")), "arguments": arguments}}
