"""What an OpenAI-compatible server says when something went wrong, in each form seen, and which fault that is."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from foreman.domain import fault
from foreman.domain.fault import Fault
from foreman.domain.lifecycle import Cause

#: By which such a server says "not now", as hosted ones do. 408: the request did not arrive in time; 425: not yet, over
#: this connection; 429: too many at once. For Ollama they are final, as any other 4xx: it says ``503``.
_BUSY = fault.BUSY | {408, 425, 429}
_CLIENT_ERROR = range(400, 500)
_ERROR = range(400, 600)
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class _Said:
    """An error's text, ``""`` if it has none, and its code: an HTTP status, or a word such as ``model_not_found``."""

    text: str
    code: object = None


def refused(status: int, body: str, *, retry_after: str | None = None) -> Fault:
    """The server answered with a ``status`` other than 200; ``body`` as far as it was read."""
    said = _said(_decoded(body))
    # A body in no known form is judged as ``fault`` judges one of Ollama's: plain text is quoted, a web page is not.
    text = body if said is None else json.dumps({"error": said.text})
    answered = fault.answered(status, text, retry_after=retry_after, busy=_BUSY)
    if status in _CLIENT_ERROR and said is not None and _names_no_model(said):
        return replace(answered, cause=Cause.MODEL_NOT_FOUND, retry=False, began=True)
    return answered


def reported(chunk: dict[str, Any]) -> Fault | None:
    """The fault that ``chunk``, one event of a stream that began with 200, reports; ``None`` if it reports none."""
    said = _said(chunk)
    if said is None:
        return None
    if isinstance(said.code, int) and said.code in _ERROR:
        # The status that would have been sent if it had not been too late for one.
        return replace(refused(said.code, json.dumps({"error": said.text})), began=True)
    return fault.reported(said.text)


def is_loading(status: int, body: str) -> bool:
    """Whether this is what llama.cpp answers while it reads the model: ``503``, "Loading model"."""
    said = _said(_decoded(body))
    return status == _UNAVAILABLE and said is not None and "loading" in said.text.lower()


def _names_no_model(said: _Said) -> bool:
    return said.code == "model_not_found" or fault.reported(said.text).cause is Cause.MODEL_NOT_FOUND


def _decoded(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _said(answer: object) -> _Said | None:
    """What an error says, in the form of each server; ``None`` if ``answer`` is no error.

    OpenAI, llama.cpp, vLLM: ``{"error": {"message", "type", "code"}}``. LM Studio: that, or ``{"error": "text"}``.
    Older vLLM: ``{"object": "error", "message", "code"}``. FastAPI, which vLLM is built on: ``{"detail": …}``.
    """
    match answer:
        case {"error": {"message": str(text)} as error}:
            return _Said(text, error.get("code"))
        case {"error": str(text)} if text:
            return _Said(text)
        case {"object": "error", "message": str(text), **rest}:
            return _Said(text, rest.get("code"))
        case {"detail": str(text)} | {"detail": [{"msg": str(text)}, *_]}:
            return _Said(text)
        case {"error": error} if error:
            return _Said("")
        case _:
            return None
