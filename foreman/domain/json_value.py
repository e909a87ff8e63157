"""Decoded JSON as foreman keeps it: what it can store and send on, how it is written, how a place in it is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeGuard

from foreman.errors import Problem

#: Levels of nesting, the body itself included. JSON libraries recurse, and the first to give up would decide who fails:
#: Go's takes 10,000, Python's about 1,000, PostgreSQL's by stack size. Tool schemas in the wild stay below 20.
MAX_DEPTH = 64
#: Integers a 64-bit reader holds, signed or not (a seed may be either); beyond it readers round or refuse.
INTEGERS = range(-(2**63), 2**64)
#: Values in one body. A chat of the longest context with every tool there is has thousands; looking at each of the ten
#: million that twenty megabytes can hold would keep a web thread for seconds.
MAX_VALUES = 1_000_000
#: Characters of a pointer; what lies deeper than that is reported at its nearest ancestor, or a few long keys would
#: make an answer many times the size of the body.
MAX_POINTER_CHARS = 1024
#: Problems reported of one body; a body of nothing but problems would otherwise make an answer larger than itself.
MAX_PROBLEMS = 1000


#: Any JSON that foreman keeps, as a reference to ``VALUE_SCHEMA`` under its name in OpenAPI.
VALUE: dict[str, Any] = {"$ref": "#/components/schemas/Value"}
#: What ``unkeepable`` lets through, as far as JSON Schema has words for it.
VALUE_SCHEMA: dict[str, Any] = {
    "description": "Any JSON: integers, which are numbers without fraction and exponent, of at most 64 bits, at most "
    f"{MAX_DEPTH} levels of nesting, and no half of a surrogate pair.",
    "anyOf": [
        {"type": ["null", "boolean", "string", "number"]},
        {"type": "array", "items": VALUE},
        {"type": "object", "additionalProperties": VALUE},
    ],
}


def compact(value: object) -> bytes:
    """``value`` as JSON without spaces, UTF-8, keys in their own order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def canonical(value: object) -> bytes:
    """``value`` as JSON that two equal values share: keys sorted, no spaces, ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def child(pointer: str, key: str | int) -> str:
    """The RFC 6901 pointer to ``key`` below ``pointer``, or ``pointer`` itself where the key cannot be shown."""
    text = str(key).replace("~", "~0").replace("/", "~1")
    longer = f"{pointer}/{text}"
    return longer if len(longer) <= MAX_POINTER_CHARS and is_unicode(text) else pointer


def is_unicode(text: str) -> bool:
    r"""Whether ``text`` has a UTF-8 form: ``"\ud800"`` is legal JSON and has none."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` came from a JSON number: in Python ``True`` is an ``int``, in JSON it is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def unkeepable(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every ``(pointer, detail)`` of what in ``value`` could not be stored or sent on, outermost first.

    One level after the other and without recursion; pointers are made only where one is needed.
    """
    count = 0
    level: list[_Place] = [(None, "", value)]
    for _ in range(MAX_DEPTH):
        below: list[_Place] = []
        for place in level:
            parent = place[2]
            count += len(parent)
            if count > MAX_VALUES:
                yield _pointer(place), f"must leave the body with no more than {MAX_VALUES} values"
                return
            for key, item in parent.items() if isinstance(parent, dict) else enumerate(parent):
                if isinstance(key, str) and not is_unicode(key):
                    yield _pointer(place), "must not have a key with half of a surrogate pair"
                if isinstance(item, dict | list):
                    below.append((place, key, item))
                elif detail := _refuse_scalar(item):
                    yield _pointer((place, key, item)), detail
        level = below
    for place in level:
        yield _pointer(place), f"must not be nested deeper than {MAX_DEPTH} levels"


#: A value on the way down: the place of its parent, its key there, and itself.
_Place: TypeAlias = "tuple[_Place | None, str | int, Any]"


def _pointer(place: _Place) -> str:
    keys: list[str | int] = []
    at: _Place | None = place
    while at is not None:
        keys.append(at[1])
        at = at[0]
    pointer = ""
    for key in reversed(keys[:-1]):
        pointer = child(pointer, key)
    return pointer


def _refuse_scalar(item: object) -> str | None:
    kind = type(item)
    if kind is str:
        return None if is_unicode(str(item)) else "must not contain half of a surrogate pair"
    if kind is int:
        return None if item in INTEGERS else "must be an integer of at most 64 bits"
    if isinstance(item, float) and not math.isfinite(item):
        return "must be a finite number"
    return None


class Findings:
    """The problems found in one body so far: the first at each place, and no more than ``MAX_PROBLEMS``."""

    def __init__(self) -> None:
        self._details: dict[str, str] = {}

    def add(self, pointer: str, detail: str) -> None:
        """Note that what ``pointer`` names is wrong; ``detail`` says what would be right."""
        if len(self._details) < MAX_PROBLEMS:
            self._details.setdefault(pointer, detail)

    def add_all(self, problems: Iterable[tuple[str, str]]) -> None:
        """Note ``problems``, each a pointer and a detail, as far as there is room."""
        for pointer, detail in problems:
            self.add(pointer, detail)
            if self.full:
                return

    @property
    def full(self) -> bool:
        """Whether further looking would report nothing more."""
        return len(self._details) >= MAX_PROBLEMS

    def within(self, pointer: str) -> bool:
        """Whether anything at or below ``pointer`` is wrong."""
        return any(place == pointer or place.startswith(f"{pointer}/") for place in self._details)

    def problems(self) -> tuple[Problem, ...]:
        """What was found, in the order of finding."""
        return tuple(Problem(pointer, detail) for pointer, detail in self._details.items())
