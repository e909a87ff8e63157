"""What operators ask of webhooks, read from a body: which events to send again, which URL to try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from foreman.domain.address import Policy, Refusal, judge_url, origin_of
from foreman.domain.job import Moment
from foreman.domain.json_value import Findings, child
from foreman.domain.moment import parse_rfc3339
from foreman.errors import BodyInvalid, Problem

#: A URL as far as its origin; whether it may be called is no question here, since it once was.
_ORIGIN = re.compile(r"https?://[!-~]{1,2048}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Dead events created at ``since`` or later are to be sent again; ``origin`` None: those to anywhere."""

    since: Moment
    origin: str | None


def read_recovery(body: object) -> Recovery:
    """The recovery that ``body``, decoded JSON, asks for: ``since`` and perhaps ``origin``.

    Raises:
        BodyInvalid: with everything that is wrong.
    """
    found = Findings()
    given = _members(body, {"since", "origin"}, found)
    text = given.get("since")
    since = parse_rfc3339(text) if isinstance(text, str) else None
    if since is None:
        found.add("/since", "must be an RFC 3339 time such as 2026-11-24T03:39:53Z")
    origin = given.get("origin")
    if origin is not None and not (isinstance(origin, str) and _ORIGIN.fullmatch(origin)):
        found.add("/origin", "must be an origin such as https://hooks.example.com")
    if since is None or found.problems():
        raise BodyInvalid(found.problems())
    return Recovery(since, None if origin is None else origin_of(origin))


def read_ping(body: object, policy: Policy) -> str:
    """The URL that ``body``, decoded JSON, wants tried, and that may be called as far as its text tells.

    Raises:
        BodyInvalid: with everything that is wrong.
    """
    found = Findings()
    url = _members(body, {"url"}, found).get("url")
    if not isinstance(url, str):
        found.add("/url", "must be a string: an absolute URL")
        raise BodyInvalid(found.problems())
    verdict = judge_url(url, policy)
    if isinstance(verdict, Refusal):
        found.add("/url", verdict.detail)
    if problems := found.problems():
        raise BodyInvalid(problems)
    return url


def _members(body: object, known: set[str], found: Findings) -> dict[str, Any]:
    """The members of an object. Unlike in a submission an unknown one is wrong: it would be obeyed by nobody."""
    if not isinstance(body, dict):
        raise BodyInvalid((Problem("", "must be a JSON object"),))
    for name in body.keys() - known:
        found.add(child("", name), f"is not known; there are {', '.join(sorted(known))}")
    return body
