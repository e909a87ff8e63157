"""What ``GET /v1/models`` tells about one model, which depends on whose list it is."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import Any

#: Whose lists leave out nothing that they would run: ``owned_by`` of every entry, as vLLM and LM Studio write it.
_COMPLETE = frozenset({"vllm", "organization_owner"})
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
    match entry.get("status"):
        # llama.cpp in front of many models: https://github.com/ggml-org/llama.cpp, tools/server/README.md.
        case {"value": "loading"}:
            return Presence.LOADING
        case {"value": str()}:
            return Presence.READY
        case _:
            pass
    owners = {str(each.get("owned_by")) for each in entries}
    if _LLAMA_CPP in owners:
        return Presence.UNSURE
    return Presence.ABSENT if owners and owners <= _COMPLETE and not entry else Presence.READY


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
