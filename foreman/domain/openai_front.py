"""OpenAI's chat completions as clients ask for them → a native chat, and its lines → the answer they expect.

The other direction, foreman as the client of such a server, is in ``openai_request.py`` and ``openai_answer.py``.
Source of the shapes: OpenAI's API reference, "Chat"; where that leaves room, ``openai/openai.go`` in Ollama::

    messages[].content       a string, or parts: text → content, image_url with a data URL → images
    messages[].tool_calls    arguments as text → an object
    tool messages            tool_call_id, and tool_name from the call of that id
    response_format          json_object → format "json", json_schema → format
    reasoning_effort         → think; "none" → false
    max_tokens, temperature, … → options, by _OPTIONS

Every other key goes as it is, foreman's own included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from foreman.domain.json_value import Findings, compact
from foreman.errors import Problem, SubmissionInvalid

#: Keys that become options, by the name that they have there.
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}
#: Keys that are translated or meant for the front alone; what else there is goes as it is.
_TRANSLATED = frozenset(
    {*_OPTIONS, "messages", "response_format", "reasoning_effort", "stream", "stream_options", "n", "options"}
)
_EFFORTS = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}


def native(body: object) -> dict[str, Any]:
    """The native chat that ``body``, decoded JSON, asks for; what is wrong with that is for ``submission`` to find.

    Raises:
        SubmissionInvalid: with everything that has no native form.
    """
    if not isinstance(body, dict):
        raise SubmissionInvalid((Problem("", "must be a JSON object"),))
    found = Findings()
    if body.get("n") not in (None, 1):
        found.add("/n", "must be 1: a job yields one completion")
    chat = {key: value for key, value in body.items() if key not in _TRANSLATED}
    chat |= {"messages": _messages(body.get("messages"), found)}
    chat |= _format(body.get("response_format"), found) | _think(body.get("reasoning_effort"), found)
    if options := _options(body, found):
        chat["options"] = options
    if problems := found.problems():
        raise SubmissionInvalid(problems)
    return chat


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a stream is to end with the count of tokens."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _options(body: dict[str, Any], found: Findings) -> dict[str, Any]:
    given = body.get("options") or {}
    if not isinstance(given, dict):
        found.add("/options", "must be an object")
        return {}
    options = {name: body[key] for key, name in _OPTIONS.items() if body.get(key) is not None}
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    return given | options


def _format(wanted: object, found: Findings) -> dict[str, Any]:
    match wanted:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"format": "json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"format": schema}
        case _:
            found.add("/response_format", "must be of type text, json_object, or json_schema with a schema")
            return {}


def _think(effort: object, found: Findings) -> dict[str, Any]:
    if effort is None:
        return {}
    if isinstance(effort, str) and effort in _EFFORTS:
        return {"think": _EFFORTS[effort]}
    found.add("/reasoning_effort", f"must be one of {', '.join(_EFFORTS)}")
    return {}


def _messages(messages: object, found: Findings) -> object:
    if not isinstance(messages, list) or not messages:
        found.add("/messages", "must be a list of one message or more")
        return []
    names: dict[str, str] = {}
    return [_message(each, f"/messages/{index}", names, found) for index, each in enumerate(messages)]


def _message(message: object, pointer: str, names: dict[str, str], found: Findings) -> object:
    """A message in native form; ``names`` are the functions that were called so far, by the call's id."""
    if not isinstance(message, dict):
        return message
    text, images = _content(message.get("content"), f"{pointer}/content", found)
    made = {key: value for key, value in message.items() if key not in ("reasoning", "reasoning_content", "refusal")}
    made["content"] = text
    if message.get("role") == "developer":
        made["role"] = "system"
    if images:
        made["images"] = images
    if thinking := message.get("reasoning") or message.get("reasoning_content"):
        made["thinking"] = thinking
    if calls := message.get("tool_calls"):
        made["tool_calls"] = _calls(calls, f"{pointer}/tool_calls", names, found)
    if (name := names.get(str(message.get("tool_call_id")))) is not None:
        made.setdefault("tool_name", name)
    return made


def _content(content: object, pointer: str, found: Findings) -> tuple[object, list[str]]:
    """The text and the images, base64, of a message."""
    if not isinstance(content, list):
        return "" if content is None else content, []
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        match part:
            case {"type": "text" | "input_text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)} if _is_data(url):
                images.append(url.partition(",")[2])
            case {"type": "image_url"}:
                found.add(f"{pointer}/{index}", "must have a data URL in base64: foreman fetches no image")
            case _:
                found.add(f"{pointer}/{index}", "must be of type text or image_url")
    return "\n".join(texts), images


def _is_data(url: str) -> bool:
    return url.startswith("data:") and url.partition(",")[0].endswith(";base64")


def _calls(calls: object, pointer: str, names: dict[str, str], found: Findings) -> object:
    return (
        calls
        if not isinstance(calls, list)
        else [_call(call, f"{pointer}/{index}", names, found) for index, call in enumerate(calls)]
    )


def _call(call: object, pointer: str, names: dict[str, str], found: Findings) -> object:
    match call:
        case {"function": {"name": str(name), **inner}, **rest}:
            arguments = _arguments(inner.get("arguments"))
            if arguments is None:
                found.add(f"{pointer}/function/arguments", "must be a JSON object, as text")
            if isinstance(call_id := rest.get("id"), str):
                names[call_id] = name
            return rest | {"function": {"name": name, "arguments": arguments}}
        case _:
            found.add(pointer, "must name a function")
            return call


def _arguments(text: object) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if isinstance(text, str) and text else text or {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class Answer:
    """One answer in OpenAI's words, made from a job's lines or from its completion."""

    job_id: str
    model: str
    created_s: int
    #: Whether the last chunk but the end is to count the tokens.
    usage: bool = False
    _begun: bool = field(default=False, init=False)
    _calls: int = field(default=0, init=False)

    def chunks(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        """What the next ``line`` amounts to, as chunks of a stream."""
        message = line.get("message") or {}
        delta = self._said(message, indexed=True)
        if not self._begun:
            delta = {"role": "assistant", "content": ""} | delta
        self._begun = True
        done = line.get("done") is True
        choice = {"index": 0, "delta": delta, "finish_reason": self._reason(line) if done else None} | _logprobs(line)
        made = [self._object("chat.completion.chunk", [choice])] if delta or done else []
        if done and self.usage:
            made.append(self._object("chat.completion.chunk", []) | {"usage": _usage(line)})
        return made

    def whole(self, completion: dict[str, Any]) -> dict[str, Any]:
        """The whole of a ``completion``, which is a native response object."""
        said = {"role": "assistant", "content": None} | self._said(completion.get("message") or {}, indexed=False)
        choice = {"index": 0, "message": said, "finish_reason": self._reason(completion)} | _logprobs(completion)
        return self._object("chat.completion", [choice]) | {"usage": _usage(completion)}

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.job_id}",
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        }

    def _said(self, message: dict[str, Any], *, indexed: bool) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if message.get("thinking"):
            said["reasoning"] = message["thinking"]
        if message.get("content"):
            said["content"] = message["content"]
        if calls := message.get("tool_calls"):
            said["tool_calls"] = [self._call(call, indexed=indexed) for call in calls]
        return said

    def _call(self, call: dict[str, Any], *, indexed: bool) -> dict[str, Any]:
        index, self._calls = self._calls, self._calls + 1
        function = call.get("function") or {}
        arguments = compact(function.get("arguments") or {}).decode()
        made = {
            "id": call.get("id") or f"call_{self.job_id}_{index}",
            "type": "function",
            "function": {"name": function.get("name"), "arguments": arguments},
        }
        return {"index": index} | made if indexed else made

    def _reason(self, line: dict[str, Any]) -> str:
        if self._calls:
            return "tool_calls"
        return "length" if line.get("done_reason") == "length" else "stop"


def models(listed: object, now_s: int) -> list[dict[str, Any]] | None:
    """A server's list of models, decoded, as OpenAI's ``data``; ``None`` if it is none.

    It may be OpenAI's already. In Ollama's it is not told since when there is a model, so all are from ``now_s``.
    """
    match listed:
        case {"data": list(data)}:
            return [each for each in data if isinstance(each, dict) and isinstance(each.get("id"), str)]
        case {"models": list(tags)}:
            names = [each.get("model") or each.get("name") for each in tags if isinstance(each, dict)]
            return [{"id": name, "object": "model", "created": now_s, "owned_by": "library"} for name in names if name]
        case _:
            return None


def _usage(line: dict[str, Any]) -> dict[str, int]:
    asked, made = int(line.get("prompt_eval_count") or 0), int(line.get("eval_count") or 0)
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _logprobs(line: dict[str, Any]) -> dict[str, Any]:
    logprobs = line.get("logprobs")
    return {"logprobs": {"content": logprobs}} if logprobs else {}
