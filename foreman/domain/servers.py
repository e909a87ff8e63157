"""What ``upstream.servers`` accepts: the upstreams of a list, each key of each checked by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foreman.domain.endpoint import DEFAULT, Endpoint
from foreman.domain.setting import Choice, Kind, Refused, Text, Texts, Whole, is_http_url

#: What an upstream speaks.
KIND = Choice(("ollama", "openai"))
#: Requests sent to one upstream at once.
SLOTS = Whole(1, 1024)
API_KEY = Text("a key on one line")

_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_LIST = 'a list of servers, such as [{"name": "gpu-1", "url": "http://10.0.0.5:11434", "slots": 2}]'


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text != DEFAULT


def _is_pattern(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


_KEYS: Mapping[str, Kind] = {
    "name": Text(
        f"1 to 64 of a-z, 0-9 and -, and not {DEFAULT}, which is upstream.url's", _is_name, may_be_empty=False
    ),
    "url": Text(
        "an http or https URL without query or fragment, such as http://10.0.0.5:11434", is_http_url, may_be_empty=False
    ),
    "kind": KIND,
    "slots": SLOTS,
    "models": Texts("a list of names of models, in which * stands for anything", _is_pattern),
    "api_key": API_KEY,
}
_REQUIRED = ("name", "url")


@dataclass(frozen=True, slots=True)
class Servers:
    """Any number of upstreams with names of their own, as a tuple."""

    def parse(self, text: str) -> tuple[Endpoint, ...] | Refused:
        """A JSON array of objects, with the keys that a table of the TOML file has."""
        try:
            return self.check(json.loads(text))
        except (ValueError, RecursionError):
            return Refused(_LIST)

    def check(self, value: object) -> tuple[Endpoint, ...] | Refused:
        """A TOML array of tables; of what is wrong with it the first is told, by its place in the list."""
        if not isinstance(value, list):
            return Refused(_LIST)
        read = [_read(item, f"[{index}]") for index, item in enumerate(value)]
        for index, each in enumerate(read):
            if isinstance(each, Refused):
                return each
            if any(isinstance(other, Endpoint) and other.name == each.name for other in read[:index]):
                return Refused("a name that no other server has", at=f"[{index}].name")
        return tuple(each for each in read if isinstance(each, Endpoint))


def _read(item: object, at: str) -> Endpoint | Refused:
    if not isinstance(item, dict):
        return Refused("a table with name, url, and perhaps kind, slots, models and api_key", at=at)
    values: dict[str, Any] = {}
    for key in (*_REQUIRED, *(key for key in item if key not in _REQUIRED)):
        kind = _KEYS.get(key)
        if kind is None:
            return Refused(f"one of the keys {', '.join(_KEYS)}", at=f"{at}.{key}"[:100])
        values[key] = kind.check(item.get(key))
        if isinstance(values[key], Refused):
            return Refused(values[key].right, at=f"{at}.{key}")
    return Endpoint(**values)
