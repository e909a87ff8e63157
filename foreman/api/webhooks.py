"""``/webhooks``: what an operator sees of all deliveries, sends again after an outage, and tries beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import falcon

from foreman.api import shown
from foreman.api.body import read_json
from foreman.api.momentary import answer
from foreman.api.parameter import Parameter, parameters_of
from foreman.api.places import Places
from foreman.api.query import DEFAULT_LIMIT, LIMIT, OF_JOB, ULID, cursor, cursor_of, limit_of
from foreman.domain.address import Policy
from foreman.domain.delivery import is_success
from foreman.domain.event import event_id
from foreman.domain.moment import rfc3339, rfc3339_or_none
from foreman.domain.shape import OneOf
from foreman.domain.webhook_order import read_ping, read_recovery
from foreman.services.ping import Pinger
from foreman.services.redeliver import Redeliverer
from foreman.store.deliveries import STATUSES, Deliveries, Entry, EventFilter

#: Pings that one web process makes at once. A person makes one at a time; more would make foreman a scanner.
MAX_PINGS = 4

STATUS = Parameter("status", "query", OneOf(STATUSES), "Events of this status; all without it.", "dead")
#: A cursor is job and sequence of the last event on a page.
EVENTS = (STATUS, OF_JOB, LIMIT, cursor(ULID + r"\.[0-9]{1,4}"))


@dataclass(frozen=True, slots=True)
class WebhookEventsResource:
    """``GET /webhooks/events``."""

    deliveries: Deliveries

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List events of all jobs: those of the newest job first."""
        wanted = event_filter(parameters_of(req, EVENTS))
        found = self.deliveries.events(replace(wanted, limit=wanted.limit + 1))
        page = found[: wanted.limit]
        following = event_place(page[-1]) if len(found) > len(page) else None
        told: shown.WebhookEventPage = {"events": [_shown(each) for each in page], "next_cursor": following}
        answer(resp, told)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class RecoverResource:
    """``POST /webhooks/recover``."""

    redeliverer: Redeliverer
    max_body_b: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send again what died since a moment, and say how many events that is."""
        wanted = read_recovery(read_json(req, self.max_body_b))
        told: shown.Recovered = {"recovered": self.redeliverer.recover(wanted)}
        answer(resp, told)
        resp.status = HTTPStatus.ACCEPTED


@dataclass(frozen=True, slots=True)
class PingResource:
    """``POST /webhooks/ping``. A ping takes one of ``pings``, and one of ``places``: it may last as long as a try."""

    pinger: Pinger
    policy: Policy
    pings: Places
    places: Places
    max_body_b: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Try a URL now. A try that fails is an answer, not an error; of the receiver's answer the status is told."""
        url = read_ping(read_json(req, self.max_body_b), self.policy)
        with self.pings.take(), self.places.take():
            attempt = self.pinger.ping(url)
        told: shown.PingOutcome = {
            "outcome": "delivered" if is_success(attempt.status) else "failed",
            "status": attempt.status,
            "error": attempt.error,
            "duration_ms": attempt.duration_ms,
        }
        answer(resp, told)


def event_filter(given: Mapping[str, Any]) -> EventFilter:
    """The filter that parameters of ``EVENTS``, already read, describe."""
    return EventFilter(
        status=given.get("status"),
        job_id=given["job_id"].upper() if "job_id" in given else None,
        before=_place(given["cursor"]) if "cursor" in given else None,
        limit=limit_of(given, DEFAULT_LIMIT),
    )


def event_place(entry: Entry) -> str:
    """The cursor of the page that begins after this event."""
    return cursor_of(entry.job_id, entry.sequence)


def _place(text: str) -> tuple[str, int]:
    job_id, sequence = text.split(".")
    return job_id, int(sequence)


def _shown(entry: Entry) -> shown.WebhookEvent:
    return {
        "event_id": event_id(entry.job_id, entry.state),
        "job_id": entry.job_id,
        "state": entry.state,
        "sequence": entry.sequence,
        "status": entry.status,
        "attempts": entry.attempts,
        "last_status": entry.last_status,
        "last_error": entry.last_error,
        "created_at": rfc3339(entry.created_at),
        "next_attempt_at": rfc3339_or_none(entry.next_attempt_at),
        "delivered_at": rfc3339_or_none(entry.delivered_at),
        "origin": entry.origin,
    }
