"""One upstream as the settings describe it: where it is, what it speaks, and what may be asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

#: The name of the upstream that ``upstream.url`` names; no server of ``upstream.servers`` may have it.
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model server. ``models``: names or ``*`` patterns of those that it may be asked for; none: any."""

    name: str
    #: It may hold a password, and the key is one: neither is in a ``repr``.
    url: str = field(repr=False)
    kind: str = "ollama"
    slots: int = 1
    models: tuple[str, ...] = ()
    api_key: str = field(default="", repr=False)

    @property
    def setting(self) -> str:
        """What the settings that describe it begin with, for whoever tells an operator that one of them is wrong."""
        return "upstream" if self.name == DEFAULT else f"upstream.servers.{self.name}"


def written(endpoints: Iterable[Endpoint]) -> str:
    """``endpoints`` as the environment would hold them: a JSON array of objects."""
    return json.dumps(
        [
            {
                "name": each.name,
                "url": each.url,
                "kind": each.kind,
                "slots": each.slots,
                "models": list(each.models),
                "api_key": each.api_key,
            }
            for each in endpoints
        ]
    )
