"""What no answer may be, whatever was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

#: What a body would show of a fault: Python's own words, and where foreman lies.
GIVEAWAYS: tuple[bytes, ...] = (b"Traceback (most", b'File "/', b"site-packages", b".py\\", b"psycopg.", b"peewee.")

_PROBLEM = {"type", "title", "status", "detail"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


#: Calls that are answered when their job has ended, and so perhaps with what it ended by.
_CHATS = frozenset({"/api/chat", "/v1/chat/completions"})


def complaints(
    method: str, path: str, answer: Answer, secrets: Sequence[bytes], *, read: bool = True, limited: bool = False
) -> list[str]:
    """What is wrong with ``answer``: nothing, for a well-behaved server. ``secrets`` may be in no answer.

    Unless the request was surely ``read``, its path may not have been, nor whose form of errors it asks for. One that
    ``limited`` the time its chat may take is rightly told that this time was over.
    """
    path = "/" + path.strip("/")
    if limited and path in _CHATS and answer.status == HTTPStatus.GATEWAY_TIMEOUT:
        return []
    return list(_complaints(method, path, answer, secrets, read))


def _complaints(method: str, path: str, answer: Answer, secrets: Sequence[bytes], read: bool) -> Iterator[str]:  # noqa: FBT001
    if answer.status >= 500 and answer.status != 503:
        yield f"status {answer.status}"
    if answer.status == 503 and path != "/readyz" and not answer.headers.get("retry-after", "").isdigit():
        yield "a 503 that does not say when to come back"
    for known in (*GIVEAWAYS, *secrets):
        if known in answer.body:
            yield f"shows {known!r}"
    if answer.status >= 400 and method != "HEAD" and path != "/readyz":
        yield from _form(path, answer, read)


def _form(path: str, answer: Answer, read: bool) -> Iterator[str]:  # noqa: FBT001
    media_type = answer.headers.get("content-type", "")
    if (path == "/ui" or path.startswith("/ui/")) and media_type.startswith("text/html"):
        # A person reads it.
        if not answer.body.startswith(b"<!doctype html>"):
            yield f"an error that is no page: {answer.body[:100]!r}"
        return
    try:
        told = json.loads(answer.body)
    except ValueError:
        yield f"an error that is not JSON: {answer.body[:100]!r}"
        return
    problem = media_type == "application/problem+json" and _is_problem(told, answer.status)
    if problem and not read:
        good = True
    elif path.startswith("/api/") or path == "/api":
        good = media_type.startswith("application/json") and isinstance(_at(told, "error"), str)
    elif path.startswith("/v1/") or path == "/v1":
        good = media_type.startswith("application/json") and isinstance(_at(_at(told, "error"), "message"), str)
    else:
        good = problem
    if not good:
        yield f"an error in the wrong form: {media_type}: {answer.body[:200]!r}"


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _is_problem(told: Any, status: int) -> bool:
    """RFC 9457, with ``errors`` where there are several places that are wrong."""
    if not isinstance(told, dict) or set(told) - {"errors"} != _PROBLEM or told["status"] != status:
        return False
    errors = told.get("errors", [])
    return isinstance(errors, list) and all(set(each) == {"pointer", "detail"} for each in errors)
