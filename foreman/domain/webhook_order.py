"""What operators ask of webhooks, read from a body: which events to send again, which URL to try."""

from __future__ import annotations

from dataclasses import dataclass

from foreman.domain.address import Policy, Refusal, judge_url, origin_of
from foreman.domain.job import Moment
from foreman.domain.json_value import Findings
from foreman.domain.moment import parse_rfc3339
from foreman.domain.shape import Member, Object, Text, Time
from foreman.domain.submission import WEBHOOK_URL
from foreman.errors import BodyInvalid

_SINCE = Time()

RECOVERY = Object(
    name="Recovery",
    about="Which dead events are to be sent again.",
    right="must be a JSON object",
    open=False,
    members=(
        Member("since", _SINCE, "Those created then or later.", needed=_SINCE.right),
        # A URL as far as its origin; whether it may be called is no question here, since it once was.
        Member(
            "origin",
            Text(
                "must be an origin such as https://hooks.example.com", pattern="[Hh][Tt][Tt][Pp][Ss]?://[!-~]{1,2048}"
            ),
            "Those to this origin alone; a URL counts as far as its origin.",
        ),
    ),
    examples=({"since": "2026-11-24T03:00:00Z", "origin": "https://hooks.example.com"},),
)

PING = Object(
    name="Ping",
    about="The URL to try.",
    right="must be a JSON object",
    open=False,
    members=(Member("url", WEBHOOK_URL, "An absolute URL that may be called.", needed=WEBHOOK_URL.right),),
    examples=({"url": "https://hooks.example.com/foreman"},),
)


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
    RECOVERY.check(body, "", found)
    given = body if isinstance(body, dict) else {}
    since, origin = parse_rfc3339(str(given.get("since"))), given.get("origin")
    if (problems := found.problems()) or since is None:
        raise BodyInvalid(problems)
    return Recovery(since, None if origin is None else origin_of(origin))


def read_ping(body: object, policy: Policy) -> str:
    """The URL that ``body``, decoded JSON, wants tried, and that may be called as far as its text tells.

    Raises:
        BodyInvalid: with everything that is wrong.
    """
    found = Findings()
    PING.check(body, "", found)
    url = body.get("url") if isinstance(body, dict) else None
    if isinstance(url, str) and isinstance(verdict := judge_url(url, policy), Refusal):
        found.add("/url", verdict.detail)
    if (problems := found.problems()) or not isinstance(url, str):
        raise BodyInvalid(problems)
    return url
