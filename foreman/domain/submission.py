"""A submitted body → ``JobRequest``, or every problem in it: foreman's own keys, their ranges and defaults."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from foreman.domain import chat
from foreman.domain.address import Policy, Refusal, judge_url
from foreman.domain.job import JobRequest, Limits, Priority, Webhook
from foreman.domain.json_value import Findings, canonical, child, compact, is_number, unkeepable
from foreman.domain.lifecycle import State
from foreman.errors import Problem, SubmissionInvalid

#: Seconds: 30 days, the most a job may ask to be kept, and the most any of its limits may be.
MAX_TTL_S = 30 * 86_400
#: Bytes of ``metadata`` as compact JSON. It is copied into the job, every listing and every event.
MAX_METADATA_B = 16_384
#: Runs. At a minute between them, a thousand are most of a day.
MAX_ATTEMPTS = 1000

#: Keys of foreman's own, never forwarded; contract section 1.
OWN_KEYS = frozenset(
    {
        "state_webhook_url",
        "state_webhook_events",
        "metadata",
        "priority",
        "ttl_s",
        "start_deadline_s",
        "load_timeout_s",
        "exec_timeout_s",
        "stall_timeout_s",
        "max_attempts",
    }
)
_STATE_NAMES = frozenset(str(state) for state in State)
#: Limits in seconds that a job sets for itself, besides ``ttl_s``. Zero is refused: nothing could ever meet it.
_TIMEOUTS = ("start_deadline_s", "load_timeout_s", "exec_timeout_s", "stall_timeout_s")


def read(body: object, *, defaults: Limits, policy: Policy, max_ttl_s: float = MAX_TTL_S) -> JobRequest:
    """The job that ``body``, decoded JSON, asks for; what it leaves open comes from ``defaults``.

    ``max_ttl_s`` bounds ``ttl_s``, and ``policy`` says where webhooks may go. ``null`` counts as absent.

    Raises:
        SubmissionInvalid: with everything that is wrong, up to ``json_value.MAX_PROBLEMS``.
    """
    if not isinstance(body, dict):
        raise SubmissionInvalid((Problem("", "must be a JSON object"),))
    found = Findings()
    for pointer, detail in unkeepable(body):
        found.add(pointer, detail)
        if found.full:
            break
    chat.check(body, found)
    limits = _limits(body, defaults, max_ttl_s, found)
    priority = _priority(body, found)
    webhook = _webhook(body, policy, found)
    metadata = _metadata(body, found)
    if problems := found.problems():
        raise SubmissionInvalid(problems)
    return JobRequest(
        model=body["model"],
        payload=compact({key: value for key, value in body.items() if key not in OWN_KEYS and key != "stream"}),
        metadata=metadata,
        priority=priority,
        limits=limits,
        webhook=webhook,
        digest=hashlib.sha256(canonical(body)).hexdigest(),
    )


def _limits(body: dict[str, Any], defaults: Limits, max_ttl_s: float, found: Findings) -> Limits:
    given: dict[str, float] = {}
    if (ttl_s := body.get("ttl_s")) is not None:
        if is_number(ttl_s) and 0 <= ttl_s <= max_ttl_s:
            given["ttl_s"] = ttl_s
        else:
            found.add("/ttl_s", f"must be a number of seconds from 0 to {max_ttl_s:.0f}")
    for key in _TIMEOUTS:
        if (seconds := body.get(key)) is not None:
            if is_number(seconds) and 0 < seconds <= MAX_TTL_S:
                given[key] = seconds
            else:
                found.add(child("", key), f"must be a number of seconds above 0 and up to {MAX_TTL_S}")
    return replace(defaults, **given, max_attempts=_max_attempts(body, defaults, found))


def _max_attempts(body: dict[str, Any], defaults: Limits, found: Findings) -> int | None:
    attempts = body.get("max_attempts")
    if attempts is None:
        return defaults.max_attempts
    # JSON knows no integers: 3.0 is the same number as 3.
    if not is_number(attempts) or not 1 <= attempts <= MAX_ATTEMPTS or attempts % 1:
        found.add("/max_attempts", f"must be a whole number from 1 to {MAX_ATTEMPTS}")
        return None
    return int(attempts)


def _priority(body: dict[str, Any], found: Findings) -> Priority:
    label = body.get("priority")
    for priority in Priority:
        if priority.label == label:
            return priority
    if label is not None:
        found.add("/priority", f"must be one of {', '.join(each.label for each in Priority)}")
    return Priority.NORMAL


def _metadata(body: dict[str, Any], found: Findings) -> dict[str, Any]:
    metadata = body.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        found.add("/metadata", "must be an object")
        return {}
    if found.within("/metadata") or found.full:
        # What cannot be written cannot be measured either.
        return {}
    if len(compact(metadata)) > MAX_METADATA_B:
        found.add("/metadata", f"must be at most {MAX_METADATA_B} bytes as JSON")
    return metadata


def _webhook(body: dict[str, Any], policy: Policy, found: Findings) -> Webhook | None:
    url = body.get("state_webhook_url")
    events = _events(body, found)
    if url is None:
        if body.get("state_webhook_events") is not None:
            found.add("/state_webhook_events", "needs a state_webhook_url to send the events to")
        return None
    if not isinstance(url, str):
        found.add("/state_webhook_url", "must be a string: an absolute URL")
        return None
    verdict = judge_url(url, policy)
    if isinstance(verdict, Refusal):
        found.add("/state_webhook_url", verdict.detail)
    return Webhook(url=url, events=events)


def _events(body: dict[str, Any], found: Findings) -> frozenset[State] | None:
    names = body.get("state_webhook_events")
    if names is None:
        return None
    if not isinstance(names, list) or not names:
        found.add("/state_webhook_events", f"must be a list of one or more of {', '.join(State)}")
        return None
    events: set[State] = set()
    for index, name in enumerate(names):
        pointer = child("/state_webhook_events", index)
        if not isinstance(name, str) or name not in _STATE_NAMES:
            found.add(pointer, f"must be one of {', '.join(State)}")
        elif name in events:
            found.add(pointer, "must not be named twice")
        else:
            events.add(State(name))
    return frozenset(events)
