"""Holds answers to the description of the API: of what is described nothing may be missing, wrong or unmentioned."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]  # it ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012

#: What no word of the schema looks into, or is meant to be open.
_OPEN = {"Submission", "ChatRequest", "ChatCompletionRequest", "Message", "OpenAIMessage", "Value"}


def closed(value: Any) -> Any:
    """``value``, a schema, with no member allowed that it does not name."""
    if isinstance(value, list):
        return [closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: closed(each) for key, each in value.items()}
    if made.get("type") == "object" and "properties" in made and "required" in made:
        made.setdefault("additionalProperties", False)
    return made


@dataclass
class Described:
    """A description, and what its parts say of JSON."""

    document: dict[str, Any]
    _registry: Registry[Any] = field(init=False)

    def __post_init__(self) -> None:
        schemas = self.document["components"]["schemas"]
        strict = {name: each if name in _OPEN else closed(each) for name, each in schemas.items()}
        self._registry = Registry().with_resource(
            "urn:foreman", DRAFT202012.create_resource({"components": {"schemas": strict}})
        )

    def problems(self, schema: Any, value: Any) -> list[str]:
        """What of ``value`` is not as ``schema``, a part of the document, has it."""
        absolute = json.loads(json.dumps(schema).replace('"#/components', '"urn:foreman#/components'))
        checker = Draft202012Validator(absolute, registry=self._registry, format_checker=FormatChecker(["date-time"]))
        return [f"{each.json_path}: {each.message}" for each in checker.iter_errors(value)]

    def operation(self, method: str, path: str) -> Any:
        """The operation of a request to ``path``: the one with the fewest placeholders that fits."""
        path = path.partition("?")[0]
        fitting = [each for each in self.document["paths"] if _pattern(each).fullmatch(path)]
        assert fitting, f"{path} is not described"
        return self.document["paths"][min(fitting, key=lambda each: each.count("{"))][method.lower()]

    def hold(self, method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
        """Fail unless an answer is as it is described: its status, its type, its headers and its body."""
        where = f"{method} {path} {status}"
        responses = self.operation(method, path)["responses"]
        response = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        assert response is not None, f"{where} is not described"
        given = {name.lower(): value for name, value in headers.items()}
        for name, header in response.get("headers", {}).items():
            assert not header.get("required") or name.lower() in given, f"{where} has no {name}"
        content = response.get("content")
        if content is None or method == "HEAD":
            # A part of JSON is no JSON.
            assert not body or status == 206, where
            return
        media = given["content-type"].partition(";")[0]
        assert media in content or "*/*" in content, f"{where} is {media}"
        if media.endswith("json"):
            schema = content.get(media, content.get("*/*"))["schema"]
            assert self.problems(schema, json.loads(body)) == [], where


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)))
