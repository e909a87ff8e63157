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

from dataclasses import dataclass, field
from typing import Any

from foreman.domain.json_value import Findings, compact, unkeepable
from foreman.domain.openai_chat import CHAT_COMPLETION, EFFORTS, arguments
from foreman.errors import SubmissionInvalid

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


def native(body: object) -> dict[str, Any]:
    """The native chat that ``body``, decoded JSON, asks for; what is wrong with that is for ``submission`` to find.

    Raises:
        SubmissionInvalid: with everything in which it is no chat of OpenAI's.
    """
    found = Findings()
    if isinstance(body, dict):
        # Here too: what is translated is not all there by the time it is a submission.
        found.add_all(unkeepable(body))
    CHAT_COMPLETION.check(body, "", found)
    if (problems := found.problems()) or not isinstance(body, dict):
        raise SubmissionInvalid(problems)
    chat = {key: value for key, value in body.items() if key not in _TRANSLATED}
    chat |= {"messages": _messages(body["messages"])} | _format(body.get("response_format"))
    if (effort := body.get("reasoning_effort")) is not None:
        chat["think"] = EFFORTS[effort]
    if options := _options(body):
        chat["options"] = options
    return chat


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a stream is to end with the count of tokens."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _options(body: dict[str, Any]) -> dict[str, Any]:
    options = {name: body[key] for key, name in _OPTIONS.items() if body.get(key) is not None}
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    return (body.get("options") or {}) | options


def _format(wanted: dict[str, Any] | None) -> dict[str, Any]:
    match wanted:
        case {"type": "json_object"}:
            return {"format": "json"}
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return {"format": schema}
        case _:
            return {}


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    return [_message(each, names) for each in messages]


def _message(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A message in native form; ``names`` are the functions that were called so far, by the call's id."""
    text, images = _content(message.get("content"))
    made = {key: value for key, value in message.items() if key not in ("reasoning", "reasoning_content", "refusal")}
    made["content"] = text
    if message["role"] == "developer":
        made["role"] = "system"
    if images:
        made["images"] = images
    if thinking := message.get("reasoning") or message.get("reasoning_content"):
        made["thinking"] = thinking
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [_call(call, names) for call in calls]
    if (name := names.get(str(message.get("tool_call_id")))) is not None:
        made.setdefault("tool_name", name)
    return made


def _content(content: str | list[dict[str, Any]] | None) -> tuple[str, list[str]]:
    """The text and the images, base64, of a message."""
    if not isinstance(content, list):
        return content or "", []
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        match part:
            case {"type": "image_url", "image_url": {"url": url} | url}:
                images.append(str(url).partition(",")[2])
            case {"type": "refusal", "refusal": text} | {"text": text}:
                texts.append(text)
            case _:
                pass
    return "\n".join(texts), images


def _call(call: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    function = call["function"]
    if isinstance(call_id := call.get("id"), str):
        names[call_id] = function["name"]
    return call | {"function": {"name": function["name"], "arguments": arguments(function.get("arguments"))}}


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
