"""A submitted body → ``JobRequest``, or every problem in it: foreman's own keys, their ranges and defaults."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from foreman.domain import chat
from foreman.domain.address import MAX_URL_CHARS, Policy, Refusal, judge_url
from foreman.domain.job import JobRequest, Limits, Priority, Webhook
from foreman.domain.json_value import Findings, canonical, compact, unkeepable
from foreman.domain.lifecycle import State
from foreman.domain.shape import Array, Map, Member, Number, Object, OneOf, Rule, Text
from foreman.errors import SubmissionInvalid

#: Seconds: 30 days, the most a job may ask to be kept, and the most any of its limits may be.
MAX_TTL_S = 30 * 86_400
#: Bytes of ``metadata`` as compact JSON. It is copied into the job, every listing and every event.
MAX_METADATA_B = 16_384
#: Runs. At a minute between them, a thousand are most of a day.
MAX_ATTEMPTS = 1000

#: Zero is refused for a limit: nothing could ever meet it.
_LIMIT = Number(0, MAX_TTL_S, f"must be a number of seconds above 0 and up to {MAX_TTL_S}", above=True)

#: An absolute URL that a webhook may go to: ``address.judge_url`` says which are.
WEBHOOK_URL = Text("must be a string: an absolute URL", max_chars=MAX_URL_CHARS, format="uri")

STATES = OneOf(tuple(State))
PRIORITIES = OneOf(tuple(each.label for each in Priority))


def _events_need_a_url(body: dict[str, Any], pointer: str, found: Findings) -> None:
    if body.get("state_webhook_events") is not None and body.get("state_webhook_url") is None:
        found.add(f"{pointer}/state_webhook_events", "needs a state_webhook_url to send the events to")


EVENTS_NEED_A_URL = Rule(
    _events_need_a_url,
    {
        "anyOf": [
            {"properties": {"state_webhook_events": {"type": "null"}}},
            {"required": ["state_webhook_url"], "properties": {"state_webhook_url": {"type": "string"}}},
        ]
    },
)

#: What a submission may have beside the model server's keys; contract section 1.
OWN = (
    Member("state_webhook_url", WEBHOOK_URL, "Where each state is announced: an absolute URL that may be called."),
    Member(
        "state_webhook_events",
        Array(
            STATES,
            f"must be a list of one or more of {', '.join(State)}",
            at_least=1,
            unique="must not be named twice",
        ),
        "The states to announce; all without it.",
    ),
    Member("metadata", Map(MAX_METADATA_B), "Anything of yours, at most 16 KiB as JSON; it comes with every event."),
    Member("priority", PRIORITIES, "Who goes first; `normal` unless you say."),
    Member(
        "ttl_s",
        Number(0, MAX_TTL_S, f"must be a number of seconds from 0 to {MAX_TTL_S}"),
        "Seconds for which the job and its artifacts are kept after its end.",
    ),
    Member("start_deadline_s", _LIMIT, "Seconds within which the job must have left `queued`."),
    Member("load_timeout_s", _LIMIT, "Seconds that loading the model may take."),
    Member("exec_timeout_s", _LIMIT, "Seconds that the run may take."),
    Member("stall_timeout_s", _LIMIT, "Seconds without a byte from the upstream after which the run is given up."),
    Member(
        "max_attempts",
        Number(1, MAX_ATTEMPTS, f"must be a whole number from 1 to {MAX_ATTEMPTS}", whole=True),
        "Runs of the job in all.",
    ),
)
#: Keys of foreman's own, never forwarded.
OWN_KEYS = frozenset(each.name for each in OWN)

SUBMISSION = Object(
    name="Submission",
    about="An Ollama chat payload and foreman's own keys. Any other key is forwarded to the upstream untouched.",
    right="must be a JSON object",
    members=(*chat.MEMBERS, *OWN),
    rules=(EVENTS_NEED_A_URL,),
)


def read(body: object, *, defaults: Limits, policy: Policy) -> JobRequest:
    """The job that ``body``, decoded JSON, asks for; what it leaves open comes from ``defaults``.

    ``policy`` says where webhooks may go. ``null`` counts as absent.

    Raises:
        SubmissionInvalid: with everything that is wrong, up to ``json_value.MAX_PROBLEMS``.
    """
    given: dict[str, Any] = body if isinstance(body, dict) else {}
    found = Findings()
    found.add_all(unkeepable(given))
    SUBMISSION.check(body, "", found)
    url = given.get("state_webhook_url")
    if isinstance(url, str) and isinstance(verdict := judge_url(url, policy), Refusal):
        found.add("/state_webhook_url", verdict.detail)
    if problems := found.problems():
        raise SubmissionInvalid(problems)
    return JobRequest(
        model=given["model"],
        payload=compact({key: value for key, value in given.items() if key not in OWN_KEYS and key != "stream"}),
        metadata=given.get("metadata") or {},
        priority=Priority[(given.get("priority") or Priority.NORMAL.label).upper()],
        limits=_limits(given, defaults),
        webhook=None if url is None else Webhook(url, _events(given)),
        digest=hashlib.sha256(canonical(given)).hexdigest(),
    )


def _limits(given: dict[str, Any], defaults: Limits) -> Limits:
    limits = {key: given[key] for key in Limits.__slots__ if given.get(key) is not None}
    if "max_attempts" in limits:
        limits["max_attempts"] = int(limits["max_attempts"])
    return replace(defaults, **limits)


def _events(given: dict[str, Any]) -> frozenset[State] | None:
    names = given.get("state_webhook_events")
    return None if names is None else frozenset(map(State, names))
