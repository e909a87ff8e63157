"""The shapes of what foreman takes: each finds what is wrong with a value, and describes itself as JSON Schema.

It is one declaration for both, so that what ``/openapi.json`` says is what a request is held to. All problems of a
value are found at once, each with its place, which no library at hand does; see ADR 18. ``null`` counts as absent for a
member that may be absent, as it does in Go.

JSON Schema is draft 2020-12, as OpenAPI 3.1 has it. Patterns are written so that Python and ECMA 262 read them alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from foreman.domain.json_value import VALUE, Findings, child, compact, is_number
from foreman.domain.moment import parse_rfc3339

Schema: TypeAlias = dict[str, Any]

#: Where OpenAPI keeps what has a name.
COMPONENT = "#/components/schemas/"

#: A number as JSON writes it and as a query may: leading zeros are let through. Digits as far as any are looked at.
_NUMBER = re.compile(r"-?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


class Shape(Protocol):
    """What a value has to be."""

    @property
    def types(self) -> tuple[str, ...]:
        """The JSON types that it may have; every ``integer`` is a ``number`` here."""

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Add to ``found`` whatever is wrong with ``value``, which is at ``pointer``."""

    def schema(self) -> Schema:
        """The same as JSON Schema."""


def has_type(value: object, types: tuple[str, ...]) -> bool:
    """Whether ``value``, decoded JSON, has one of the JSON ``types``."""
    return any(_TYPES[each](value) for each in types)


@dataclass(frozen=True, slots=True)
class Typed:
    """Anything of some types; ``right`` says which."""

    types: tuple[str, ...]
    right: str

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at the type alone."""
        if not has_type(value, self.types):
            found.add(pointer, self.right)

    def schema(self) -> Schema:
        """The types; what is within is any JSON."""
        made: Schema = {"type": list(self.types) if len(self.types) > 1 else self.types[0]}
        if "object" in self.types:
            made["additionalProperties"] = VALUE
        return made


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any members, of at most ``max_b`` bytes as compact JSON."""

    max_b: int
    types = ("object",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at the type and the size."""
        if not isinstance(value, dict):
            found.add(pointer, "must be an object")
        # What cannot be written cannot be measured either.
        elif not found.within(pointer) and not found.full and len(compact(value)) > self.max_b:
            found.add(pointer, f"must be at most {self.max_b} bytes as JSON")

    def schema(self) -> Schema:
        """The type; JSON Schema has no word for the size."""
        return {"type": "object", "additionalProperties": VALUE}


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``low``, or just above it, to ``high``; ``None``: as high as numbers go."""

    low: float
    high: float | None
    right: str
    above: bool = False
    #: JSON knows no integers: 3.0 is the same number as 3.
    whole: bool = False
    types = ("number",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at the type and the range."""
        if not is_number(value) or not self._holds(value):
            found.add(pointer, self.right)

    def _holds(self, value: float) -> bool:
        enough = value > self.low if self.above else value >= self.low
        return enough and (self.high is None or value <= self.high) and not (self.whole and value % 1)

    def schema(self) -> Schema:
        """The type and the range."""
        made: Schema = {"type": "integer" if self.whole else "number"}
        made["exclusiveMinimum" if self.above else "minimum"] = self.low
        return made if self.high is None else made | {"maximum": self.high}


@dataclass(frozen=True, slots=True)
class Text:
    """A string of at most ``max_chars`` that ``pattern`` fits as a whole."""

    right: str
    pattern: str | None = None
    max_chars: int | None = None
    #: A name of JSON Schema's, or one of ours that says in a word what no pattern can; it is not looked at here.
    format: str | None = None
    types = ("string",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at the type, the length and the form."""
        if not isinstance(value, str):
            found.add(pointer, self.right)
        elif self.max_chars is not None and len(value) > self.max_chars:
            found.add(pointer, f"must be at most {self.max_chars} characters")
        elif not self.fits(value):
            found.add(pointer, self.right)

    def fits(self, text: str) -> bool:
        """Whether the pattern does."""
        return self.pattern is None or re.fullmatch(self.pattern, text) is not None

    def schema(self) -> Schema:
        """The type, the length and the form."""
        form = {"pattern": self.pattern and f"^(?:{self.pattern})$", "maxLength": self.max_chars, "format": self.format}
        return {"type": "string"} | {key: value for key, value in form.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Time:
    """A moment, as RFC 3339 writes it."""

    right: str = "must be an RFC 3339 time such as 2026-11-24T03:39:53Z"
    types = ("string",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Read it."""
        if not isinstance(value, str) or parse_rfc3339(value) is None:
            found.add(pointer, self.right)

    def schema(self) -> Schema:
        """A string in a form that JSON Schema knows by name."""
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]
    #: Whether case does not matter; the schema has the words as they are in ``words`` alone.
    any_case: bool = False
    types = ("string",)

    @property
    def right(self) -> str:
        """What would be right."""
        return f"must be one of {', '.join(self.words)}"

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look it up."""
        if not isinstance(value, str) or (value.lower() if self.any_case else value) not in self.words:
            found.add(pointer, self.right)

    def schema(self) -> Schema:
        """The words."""
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Array:
    """A list of at least ``at_least`` of ``item``."""

    item: Shape
    right: str
    at_least: int = 0
    #: What is said of an item that is there already; ``None``: it may be.
    unique: str | None = None
    types = ("array",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at each item."""
        if not isinstance(value, list) or len(value) < self.at_least:
            found.add(pointer, self.right)
            return
        seen: set[object] = set()
        for index, item in enumerate(value):
            if found.full:
                return
            place = child(pointer, index)
            self.item.check(item, place, found)
            if self.unique is not None and isinstance(item, str):
                if item in seen:
                    found.add(place, self.unique)
                seen.add(item)

    def schema(self) -> Schema:
        """The items."""
        made: Schema = {"type": "array", "items": self.item.schema()}
        if self.at_least:
            made["minItems"] = self.at_least
        return made if self.unique is None else made | {"uniqueItems": True}


@dataclass(frozen=True, slots=True)
class ByType:
    """One of several shapes, told apart by the types of JSON, of which each has its own."""

    shapes: tuple[Shape, ...]
    right: str

    @property
    def types(self) -> tuple[str, ...]:
        """Those of all."""
        return tuple(each for shape in self.shapes for each in shape.types)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Find the shape for the type."""
        shape = next((each for each in self.shapes if has_type(value, each.types)), None)
        if shape is None:
            found.add(pointer, self.right)
        else:
            shape.check(value, pointer, found)

    def schema(self) -> Schema:
        """Any of them."""
        return {"anyOf": [each.schema() for each in self.shapes]}


@dataclass(frozen=True, slots=True)
class Variants:
    """One of several objects, told apart by what their member ``tag`` is."""

    tag: str
    by_tag: Mapping[str, Object]
    right: str
    types = ("object",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Find the shape for the tag."""
        tag = value.get(self.tag) if isinstance(value, dict) else None
        shape = self.by_tag.get(tag) if isinstance(tag, str) else None
        if shape is None:
            found.add(pointer, self.right)
        else:
            shape.check(value, pointer, found)

    def schema(self) -> Schema:
        """Any of them, each with its tag."""
        return {
            "anyOf": [
                {
                    **(made := shape.definition()),
                    "properties": {self.tag: {"const": tag}, **made["properties"]},
                    "required": [self.tag, *made.get("required", ())],
                }
                for tag, shape in self.by_tag.items()
            ]
        }


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object. One that ``needed`` says something of must be there; that is said where it is not."""

    name: str
    shape: Shape
    about: str = ""
    needed: str | None = None

    def schema(self) -> Schema:
        """The shape, or null where it may be absent, and what it is about."""
        made = self.shape.schema() if self.needed is not None else _nullable(self.shape.schema())
        return made | {"description": self.about} if self.about else made


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds between members: ``find`` looks at an object with its pointer, ``schema`` says the same."""

    find: Callable[[dict[str, Any], str, Findings], None]
    schema: Schema


@dataclass(frozen=True, slots=True)
class Object:
    """An object. One that has a ``name`` is described once, under that name."""

    members: tuple[Member, ...]
    name: str = ""
    about: str = ""
    right: str = "must be an object"
    rules: tuple[Rule, ...] = ()
    #: Whether a member with another name is none of our business; else it is wrong, since it would be obeyed by nobody.
    open: bool = True
    examples: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    types = ("object",)

    def check(self, value: object, pointer: str, found: Findings) -> None:
        """Look at each member, and at what holds between them."""
        if not isinstance(value, dict):
            found.add(pointer, self.right)
            return
        for member in self.members:
            given = value.get(member.name)
            if given is not None:
                member.shape.check(given, child(pointer, member.name), found)
            elif member.needed is not None:
                found.add(child(pointer, member.name), member.needed)
        for rule in self.rules:
            rule.find(value, pointer, found)
        if not self.open:
            known = sorted(each.name for each in self.members)
            for name in value.keys() - known:
                found.add(child(pointer, name), f"is not known; there are {', '.join(known)}")

    def schema(self) -> Schema:
        """The definition, or where it stands."""
        return {"$ref": COMPONENT + self.name} if self.name else self.definition()

    def definition(self) -> Schema:
        """The members, and what holds between them."""
        made: Schema = {"type": "object", "properties": {each.name: each.schema() for each in self.members}}
        if self.about:
            made = {"description": self.about} | made
        if needed := [each.name for each in self.members if each.needed is not None]:
            made["required"] = needed
        made["additionalProperties"] = VALUE if self.open else False
        if self.rules:
            made["allOf"] = [each.schema for each in self.rules]
        if self.examples:
            made["examples"] = list(self.examples)
        return made


def from_text(shape: Shape, text: str) -> object:
    """What ``text``, a parameter's, is to ``shape``: a number where it takes one and the text is one."""
    if not isinstance(shape, Number):
        return text
    form = _WHOLE if shape.whole else _NUMBER
    return float(text) if form.fullmatch(text) else text


def _nullable(schema: Schema) -> Schema:
    match schema:
        case {"enum": list(words), **rest}:
            return rest | {"type": ["string", "null"], "enum": [*words, None]}
        case {"type": str(kind), **rest}:
            return {"type": [kind, "null"], **rest}
        case {"type": list(kinds), **rest}:
            return {"type": [*kinds, "null"], **rest}
        case {"anyOf": list(some)}:
            return {"anyOf": [*some, {"type": "null"}]}
        case _:
            return {"anyOf": [schema, {"type": "null"}]}
