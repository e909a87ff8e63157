"""Server-sent events as a browser reads them, as far as foreman writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """One event; ``id`` is ``None`` where it has none, and the last one counts."""

    id: str | None
    type: str
    data: Any


def events(text: str) -> list[Sent]:
    """The events of a stream or of a part of it that ends with one."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(Sent(fields.get("id"), fields["event"], json.loads(fields["data"])))
    return found


def shown(sent: list[Sent]) -> list[str]:
    """What a person would see: states by name, text as it is, the rest by type."""
    return [_shown(each) for each in sent]


def _shown(each: Sent) -> str:
    match each.type:
        case "state":
            return str(each.data["state"]).upper()
        case "text":
            return str(each.data["message"]["content"])
        case _:
            return each.type
