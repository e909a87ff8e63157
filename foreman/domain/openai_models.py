"""What ``GET /v1/models`` tells about one model, which depends on whose list it is."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import Any

from foreman.domain.json_value import is_unicode
from foreman.domain.upstream import Survey

#: Whose lists leave out nothing that they would run: ``owned_by`` of every entry, as vLLM and LM Studio write it.
_VLLM = "vllm"
_COMPLETE = frozenset({_VLLM, "organization_owner"})
#: llama.cpp's ``owned_by``. It serves one model, lists it under a name of its own and takes a request for any name.
_LLAMA_CPP = "llamacpp"


class Presence(Enum):
    """Whether the server can be asked for the model."""

    #: It can, as far as the list tells.
    READY = auto()
    #: It cannot yet: the server says that it is loading it.
    LOADING = auto()
    #: It cannot: the list is complete, and the model is not in it.
    ABSENT = auto()
    #: llama.cpp, which answers with its list while it still loads: only ``/health`` tells.
    UNSURE = auto()


def judge(body: bytes, model: str) -> Presence:
    """What the list in ``body`` says of ``model``; a body that is no list says nothing against it."""
    entries = _entries(body)
    entry = next((each for each in entries if each.get("id") == model), {})
    status = _status(entry)
    if status is not None:
        return Presence.LOADING if status == "loading" else Presence.READY
    owners = {str(each.get("owned_by")) for each in entries}
    if _LLAMA_CPP in owners:
        return Presence.UNSURE
    return Presence.ABSENT if owners and owners <= _COMPLETE and not entry else Presence.READY


def survey(body: bytes) -> Survey:
    """What the list in ``body`` says of all models: a list that may leave some out tells only those in memory.

    A name that has no UTF-8 form is left out, as in ``ollama_models.py``.
    """
    entries = [each for each in _entries(body) if isinstance(name := each.get("id"), str) and is_unicode(name)]
    names = tuple(each["id"] for each in entries)
    owners = {str(each.get("owned_by")) for each in entries}
    if any(_status(each) is not None for each in entries):
        return Survey(names, tuple(each["id"] for each in entries if _status(each) == "loaded"))
    # llama.cpp and vLLM are started with their models; LM Studio loads them on demand and does not say which.
    loaded = names if owners and owners <= {_LLAMA_CPP, _VLLM} else ()
    return Survey(names if owners and owners <= _COMPLETE else None, loaded)


def _status(entry: dict[str, Any]) -> str | None:
    """As llama.cpp in front of many models has it: https://github.com/ggml-org/llama.cpp, tools/server/README.md."""
    match entry.get("status"):
        case {"value": str(value)}:
            return value
        case _:
            return None


def _entries(body: bytes) -> list[dict[str, Any]]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return []
    match answer:
        case {"data": list(entries)}:
            return [entry for entry in entries if isinstance(entry, dict)]
        case _:
            return []
