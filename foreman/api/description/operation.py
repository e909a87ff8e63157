"""One operation of the API as OpenAPI 3.1 has it: what it takes, what it answers, and every error that it can end with.

Source: the OpenAPI Specification 3.1.1, https://spec.openapis.org/oas/v3.1.1.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

import falcon

from foreman.api import gate, shown
from foreman.api.dialect import OLLAMA, OPENAI
from foreman.api.parameter import Parameter
from foreman.api.problems import (
    BAD_BODY,
    BAD_CODING,
    BAD_METHOD,
    BAD_REQUEST,
    BAD_TRANSFER_CODING,
    BODY_TIMEOUT,
    EXPECTATION_FAILED,
    HEADERS_TOO_LARGE,
    INTERNAL,
    MEDIA_PROBLEM,
    NO_KEY,
    NO_ROUTE,
    NOT_ADMIN,
    NOT_JSON,
    TABLE,
    TOO_LARGE,
    URI_TOO_LONG,
    Kind,
    problem_body,
)
from foreman.api.query import JOB_ID
from foreman.domain.shape import COMPONENT, Object
from foreman.errors import ForemanError, StoreUnavailable

Json: TypeAlias = dict[str, Any]
#: What can go wrong, as the API's table of problems has it.
Wrong: TypeAlias = "Kind | type[ForemanError]"

#: What can be wrong with any request before the application sees it, or by a fault of foreman's.
OUTSIDE: tuple[Kind, ...] = (
    BAD_REQUEST,
    BAD_TRANSFER_CODING,
    URI_TOO_LONG,
    EXPECTATION_FAILED,
    HEADERS_TOO_LARGE,
    INTERNAL,
)
#: What can be wrong with a body by itself; the type is looked at where it has to be JSON's.
_BODY: tuple[Kind, ...] = (NOT_JSON, BAD_BODY, BODY_TIMEOUT, TOO_LARGE, BAD_CODING)

#: The headers of answers, by name.
HEADERS: Mapping[str, Json] = {
    "Accept-Ranges": {"description": "Parts can be asked for.", "schema": {"const": "bytes"}},
    "Allow": {"description": "The methods that the resource knows.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "Who may keep the answer.", "schema": {"type": "string"}},
    "Content-Range": {"description": "Which bytes, of how many.", "schema": {"type": "string", "pattern": "^bytes "}},
    "ETag": {"description": "For `If-None-Match`.", "schema": {"type": "string", "pattern": '^"[^"]+"$'}},
    "Idempotent-Replayed": {"description": "The job was there already.", "schema": {"const": "true"}},
    "Location": {"description": "The path of what was made.", "schema": {"type": "string", "pattern": "^/"}},
    "Preference-Applied": {"description": "What of `Prefer` was done.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    "Vary": {"description": "What else decides on the answer.", "schema": {"const": "Accept"}},
    "WWW-Authenticate": {"description": "RFC 6750.", "schema": {"type": "string", "pattern": "^Bearer"}},
    "X-Foreman-Job-Id": {"description": "The job that the call became.", "schema": {"type": "string"}},
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no error. ``body``: a type of ``shown``'s or a schema, under each of ``media``."""

    status: int | str
    about: str
    body: type | Json | None = None
    media: tuple[str, ...] = (falcon.MEDIA_JSON,)
    #: The types in which it comes bit by bit: of these OpenAPI 3.1 has no schema.
    streams: tuple[str, ...] = ()
    #: Headers that are always there, and those that may be.
    headers: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Json] = field(default_factory=dict)

    def render(self) -> Json:
        """The response object."""
        made: Json = {"description": self.about} | _headers(self.headers, self.may_have)
        if self.body is not None:
            schema = reference(self.body) if isinstance(self.body, type) else self.body
            examples = {name: {"value": value} for name, value in self.examples.items()}
            content = {"schema": schema} | ({"examples": examples} if examples else {})
            made["content"] = dict.fromkeys(self.media, content) | {each: {} for each in self.streams}
        return made | ({"links": dict(self.links)} if self.links else {})


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, which is written as it is for the router."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    replies: tuple[Reply, ...]
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    #: What a body has to be: a shape, or a schema where nothing is looked into; ``None``: there is none.
    body: Object | Json | None = None
    body_examples: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Wrong, ...] = ()
    #: Whether it can do without the database.
    stateless: bool = False
    #: Whether ``HEAD`` is answered as well.
    head: bool = False

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it: without converters."""
        return self.path.replace(":path}", "}")

    def render(self, *, keys: bool) -> Json:
        """The operation object; ``keys``: whether the installation asks for a key."""
        made: Json = {"operationId": self.id, "tags": [self.tag], "summary": self.summary}
        about = " ".join(filter(None, (self.about, "For admin keys only." if keys and self._is_admins else "")))
        made |= {"description": about} if about else {}
        made["security"] = [{"bearer": []}] if keys and not gate.is_open(self.path) else []
        if self.parameters:
            made["parameters"] = [_parameter(each) for each in self.parameters]
        if self.body is not None:
            made["requestBody"] = self._request_body()
        replies = {str(each.status): each.render() for each in self.replies}
        made["responses"] = dict(sorted((replies | self._errors(keys=keys)).items()))
        return made

    def render_head(self, *, keys: bool) -> Json:
        """``HEAD`` of the same: no bytes, and nothing else is different."""
        made = self.render(keys=keys) | {"operationId": f"{self.id}Head", "summary": f"{self.summary}: the head alone"}
        bare = {"content", "links"}
        made["responses"] = {
            status: {key: each[key] for key in each if key not in bare} for status, each in made["responses"].items()
        }
        return made

    @property
    def _is_admins(self) -> bool:
        return not (gate.is_open(self.path) or self.path in gate.SHARED or JOB_ID in self.parameters)

    def _request_body(self) -> Json:
        schema = self.body.schema() if isinstance(self.body, Object) else self.body
        examples = {name: {"value": value} for name, value in self.body_examples.items()}
        content = {"schema": schema} | ({"examples": examples} if examples else {})
        return {"required": True, "content": {falcon.MEDIA_JSON: content}}

    def _errors(self, *, keys: bool) -> Json:
        by_status: dict[int, list[Kind]] = {}
        for kind in dict.fromkeys(self.kinds(keys=keys)):
            by_status.setdefault(kind.status, []).append(kind)
        taken = {each.status for each in self.replies}
        return {str(status.value): self._error(kinds) for status, kinds in _by_status(by_status) if status not in taken}

    def kinds(self, *, keys: bool) -> Iterator[Kind]:
        """Every problem that it can end with."""
        yield from OUTSIDE
        if self.body is not None:
            yield from _BODY
        if self.parameters and "{" in self.path:
            # A path that is wrong in the right way is another's, or nobody's.
            yield from (NO_ROUTE, BAD_METHOD)
        for each in self.problems:
            yield each if isinstance(each, Kind) else TABLE[each]
        closed = keys and not gate.is_open(self.path)
        if closed:
            yield NO_KEY
        if closed and self._is_admins:
            yield NOT_ADMIN
        if closed or not self.stateless:
            yield TABLE[StoreUnavailable]

    def _error(self, kinds: Sequence[Kind]) -> Json:
        made: Json = {"description": "; ".join(dict.fromkeys(each.title for each in kinds)) + "."}
        made |= _headers(tuple(_error_headers(kinds)), ())
        outside = [each for each in kinds if each in OUTSIDE and each is not INTERNAL]
        content = {}
        if self._foreign is None or outside:
            content[MEDIA_PROBLEM] = _problem(kinds if self._foreign is None else outside)
        if self._foreign is not None:
            content[falcon.MEDIA_JSON] = {"schema": reference(self._foreign)}
        return made | {"content": content}

    @property
    def _foreign(self) -> type | None:
        """The form of errors below a path that other servers' clients ask; ``None``: a problem."""
        if self.path.startswith(f"{OLLAMA}/"):
            return shown.OllamaError
        return shown.OpenAIError if self.path.startswith(f"{OPENAI}/") else None


def reference(kind: type) -> Json:
    """Where the schema of a type of ``shown``'s stands."""
    return {"$ref": COMPONENT + kind.__name__}


def problem_examples(operations: Iterable[Operation], *, keys: bool) -> Json:
    """Every problem that some operation can end with, by name."""
    kinds = {each.name: each for operation in operations for each in operation.kinds(keys=keys)}
    return {name: {"value": problem_body(each, each.status, each.detail)} for name, each in sorted(kinds.items())}


def _by_status(kinds: Mapping[int, list[Kind]]) -> Iterator[tuple[HTTPStatus, list[Kind]]]:
    for status, found in kinds.items():
        yield HTTPStatus(status), found


def _problem(kinds: Iterable[Kind]) -> Json:
    names = [f"urn:foreman:problem:{each.name}" for each in kinds]
    return {
        "schema": {"allOf": [reference(shown.Problem), {"properties": {"type": {"enum": names}}}]},
        "examples": {each.name: {"$ref": f"#/components/examples/{each.name}"} for each in kinds},
    }


def _error_headers(kinds: Sequence[Kind]) -> Iterator[str]:
    if all(each.retry_after_s is not None for each in kinds):
        yield "Retry-After"
    if any(each.status == HTTPStatus.UNAUTHORIZED for each in kinds):
        yield "WWW-Authenticate"
    if any(each.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE for each in kinds):
        yield "Content-Range"
    if any(each.status == HTTPStatus.METHOD_NOT_ALLOWED for each in kinds):
        yield "Allow"


def _headers(always: tuple[str, ...], perhaps: tuple[str, ...]) -> Json:
    made = {name: HEADERS[name] | {"required": True} for name in always} | {name: HEADERS[name] for name in perhaps}
    return {"headers": made} if made else {}


def _parameter(parameter: Parameter) -> Json:
    made: Json = {"name": parameter.name, "in": parameter.where, "description": parameter.about}
    made |= {"required": True} if parameter.where == "path" else {}
    made["schema"] = parameter.shape.schema()
    return made if parameter.example is None else made | {"example": parameter.example}
