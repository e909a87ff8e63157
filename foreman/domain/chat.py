"""Ollama's native chat payload, as far as foreman looks into it: enough that a body which cannot work is refused.

Source of the shapes: ``ChatRequest`` and ``Message`` in Ollama's ``api/types.go``. A key that is not named here is
forwarded untouched, and ``null`` counts as absent, as it does in Go.
"""

from __future__ import annotations

from typing import Any

from foreman.domain.json_value import Findings, child
from foreman.domain.preload import keep_alive_s

#: Who can say something. ``developer`` and ``control`` are OpenAI's and Granite's; case does not matter to Ollama.
ROLES = ("system", "user", "assistant", "tool", "developer", "control")
#: Characters. Ollama's longest name: host 350, then namespace, model and tag of 80, with a separator before each.
#: Source: ``isValidLen`` in Ollama's ``types/model/name.go``.
MAX_MODEL_CHARS = 350 + 3 * 81
#: What may stand in place of ``content``.
_INSTEAD_OF_CONTENT = ("tool_calls", "images", "thinking")
#: Keys whose type is all that is looked at, with what it should be.
_TYPES: dict[str, tuple[Any, str]] = {
    "format": (str | dict | None, 'must be "json" or a JSON schema object'),
    "options": (dict | None, "must be an object"),
    "think": (bool | str | None, "must be true, false or a string"),
    "stream": (bool | None, "must be true or false (and is ignored: a job yields one completion)"),
}


def check(body: dict[str, Any], found: Findings) -> None:
    """Add to ``found`` whatever Ollama's part of ``body`` has wrong."""
    _check_model(body, found)
    _check_messages(body, found)
    _check_objects(body, "tools", "", found)
    for key, (types, detail) in _TYPES.items():
        if not isinstance(body.get(key), types):
            found.add(child("", key), detail)
    if body.get("keep_alive") is not None and keep_alive_s(body["keep_alive"]) is None:
        found.add("/keep_alive", 'must be a number of seconds or a duration such as "5m"')


def _check_model(body: dict[str, Any], found: Findings) -> None:
    match body.get("model"):
        case None:
            found.add("/model", "is required: the name of the model")
        case str() as name if not name.strip():
            found.add("/model", "must not be empty")
        case str() as name if len(name) > MAX_MODEL_CHARS:
            found.add("/model", f"must be at most {MAX_MODEL_CHARS} characters")
        # A NUL could not be stored in PostgreSQL, and a line break would end the line of a log or a metric.
        case str() as name if any(ord(char) < ord(" ") or char == "\x7f" for char in name):
            found.add("/model", "must not contain control characters")
        case str():
            pass
        case _:
            found.add("/model", "must be a string")


def _check_messages(body: dict[str, Any], found: Findings) -> None:
    match body.get("messages"):
        case None:
            found.add("/messages", "is required: a list of messages, empty to load or unload the model")
        case list() as messages:
            for index, message in enumerate(messages):
                if found.full:
                    return
                _check_message(message, child("/messages", index), found)
        case _:
            found.add("/messages", "must be a list")


def _check_message(message: object, pointer: str, found: Findings) -> None:
    if not isinstance(message, dict):
        found.add(pointer, "must be an object")
        return
    role = message.get("role")
    if not isinstance(role, str) or role.lower() not in ROLES:
        found.add(f"{pointer}/role", f"must be one of {', '.join(ROLES)}")
    _check_content(message, pointer, found)
    if not isinstance(message.get("thinking"), str | None):
        found.add(f"{pointer}/thinking", "must be a string")
    _check_objects(message, "tool_calls", pointer, found)
    _check_images(message, f"{pointer}/images", found)


def _check_content(message: dict[str, Any], pointer: str, found: Findings) -> None:
    content = message.get("content")
    if content is None and not any(message.get(key) for key in _INSTEAD_OF_CONTENT):
        found.add(f"{pointer}/content", f"is required, unless there is one of {', '.join(_INSTEAD_OF_CONTENT)}")
    elif not isinstance(content, str | None):
        found.add(f"{pointer}/content", "must be a string")


def _check_images(message: dict[str, Any], pointer: str, found: Findings) -> None:
    images = message.get("images")
    if not isinstance(images, list | None):
        found.add(pointer, "must be a list of base64 strings")
        return
    for index, image in enumerate(images or ()):
        if not isinstance(image, str):
            found.add(child(pointer, index), "must be a base64 string")


def _check_objects(holder: dict[str, Any], key: str, pointer: str, found: Findings) -> None:
    items = holder.get(key)
    place = child(pointer, key)
    if not isinstance(items, list | None):
        found.add(place, "must be a list of objects")
        return
    for index, item in enumerate(items or ()):
        if not isinstance(item, dict):
            found.add(child(place, index), "must be an object")
