"""The operations of clients that were made for Ollama or OpenAI: ``/api…`` and ``/v1…``."""

from __future__ import annotations

from dataclasses import replace

from foreman.api import greeting
from foreman.api.answer import JOB_ID
from foreman.api.chat import OllamaForm
from foreman.api.description import examples
from foreman.api.description.operation import Json, Operation, Reply
from foreman.api.events import MEDIA_SSE
from foreman.api.lists import LOADED, TAGS
from foreman.api.openai import MODEL_NAME
from foreman.api.passthrough import PATHS
from foreman.api.problems import NO_PLACE
from foreman.domain.openai_chat import CHAT_COMPLETION
from foreman.domain.submission import SUBMISSION
from foreman.errors import PriorityNotAllowed, QueueFull, TooManyQueued, TooManySubmissions

_OLLAMA, _OPENAI = "Ollama", "OpenAI"

#: What a chat is; unlike a submission it may leave out its messages.
CHAT = replace(
    SUBMISSION,
    name="ChatRequest",
    members=tuple(replace(each, needed=None) if each.name == "messages" else each for each in SUBMISSION.members),
)

_OBJECT: Json = {"type": "object"}
_ERROR: Json = {"type": "object", "properties": {"error": {}}}
#: Ollama's native response object, and OpenAI's completion object, as far as both are the same for every model.
_NATIVE: Json = {
    "type": "object",
    "required": ["model", "message", "done"],
    "properties": {
        "model": {"type": "string"},
        "message": {
            "type": "object",
            "required": ["role", "content"],
            "properties": {"role": {"type": "string"}, "content": {"type": "string"}, "thinking": {"type": "string"}},
        },
        "done": {"const": True},
        "done_reason": {"type": "string"},
    },
}
_TOKENS: Json = {"type": "integer", "minimum": 0}
_COMPLETION: Json = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string", "pattern": "^chatcmpl-"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer", "description": "Unix seconds."},
        "model": {"type": "string"},
        "choices": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": {"const": 0},
                    "message": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"const": "assistant"},
                            "content": {"type": ["string", "null"]},
                            "reasoning": {"type": "string"},
                            "tool_calls": {"type": "array", "items": _OBJECT},
                        },
                    },
                    "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
                },
            },
        },
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
            "properties": {"prompt_tokens": _TOKENS, "completion_tokens": _TOKENS, "total_tokens": _TOKENS},
        },
    },
}
_HEADERS = ("Cache-Control", JOB_ID)

#: One of them is as good as another.
_FIRST: Json = {
    "operationId": "openaiModel",
    "parameters": {"model": "$response.body#/data/0/id"},
    "description": "One of them by itself.",
}

#: A chat is a job, and ends as its job does.
_PROBLEMS = (QueueFull, TooManyQueued, TooManySubmissions, PriorityNotAllowed, NO_PLACE)
_FAILED = (
    Reply("4XX", "The upstream refuses it, there is no such model, or the job was cancelled (`499`).", _ERROR),
    Reply("5XX", "The run failed (`502`), or its time was over (`504`).", _ERROR),
)
#: What an upstream answers is its own; foreman's own errors beside it are below.
_THEIRS = (
    Reply("4XX", "The upstream's own.", {}, media=("*/*",)),
    Reply("5XX", "The upstream's own, or `502` and `504`: it gave no answer.", {}, media=("*/*",)),
)

_SUMMARIES = {
    "/api/tags": "List the models that there are",
    "/api/ps": "List the models in memory",
    "/api/version": "Tell the version",
    "/api/show": "Show a model",
    "/api/embed": "Embed texts",
    "/api/embeddings": "Embed a text, as older clients do",
    "/api/generate": "Complete a text, past the queue",
}


def _handed_on(method: str, path: str) -> Operation:
    listed = path in {TAGS, LOADED}
    return Operation(
        method,
        path,
        f"ollama{path.removeprefix('/api/').capitalize()}",
        _OLLAMA,
        _SUMMARIES[path],
        (Reply(200, "The upstream's answer.", _OBJECT if listed else {}, media=("*/*",)), *_THEIRS),
        about="Handed to an upstream as it is, and answered as that answers. It is no job.",
        body=_OBJECT if method == "POST" else None,
        problems=(NO_PLACE,),
        stateless=True,
    )


OPERATIONS = (
    Operation(
        "GET",
        greeting.PATH,
        "ollamaGreeting",
        _OLLAMA,
        "Tell that there is a server",
        (Reply(200, "There is.", {"type": "string"}, media=("text/plain",), headers=("Cache-Control",)),),
        stateless=True,
        head=True,
    ),
    Operation(
        "POST",
        "/api/chat",
        "ollamaChat",
        _OLLAMA,
        "Chat as with Ollama",
        (
            Reply(
                200,
                'Lines of JSON as they come; one object with `"stream": false`.',
                _NATIVE,
                streams=(OllamaForm().media_type,),
                headers=_HEADERS,
            ),
            *_FAILED,
        ),
        about="A job like any other, at priority `interactive`. A client that hangs up cancels it.",
        body=CHAT,
        body_examples=examples.CHATS,
        problems=_PROBLEMS,
    ),
    *(_handed_on(method, path) for method, paths in PATHS.items() for path in paths),
    Operation(
        "POST",
        "/v1/chat/completions",
        "openaiChat",
        _OPENAI,
        "Chat as with OpenAI",
        (
            Reply(
                200,
                'A completion object; with `"stream": true` its chunks as server-sent events.',
                _COMPLETION,
                streams=(MEDIA_SSE,),
                headers=_HEADERS,
            ),
            *_FAILED,
        ),
        about="A job like any other, at priority `interactive`. A client that hangs up cancels it.",
        body=CHAT_COMPLETION,
        body_examples=examples.COMPLETIONS,
        problems=_PROBLEMS,
    ),
    Operation(
        "GET",
        "/v1/models",
        "openaiModels",
        _OPENAI,
        "List the models that there are",
        (Reply(200, "OpenAI's list.", _OBJECT, links={"model": _FIRST}), *_FAILED),
        problems=(NO_PLACE,),
        stateless=True,
    ),
    Operation(
        "GET",
        "/v1/models/{model:path}",
        "openaiModel",
        _OPENAI,
        "Look a model up",
        (Reply(200, "OpenAI's entry of it.", _OBJECT), *_FAILED),
        parameters=(MODEL_NAME,),
        problems=(NO_PLACE,),
        stateless=True,
    ),
)
