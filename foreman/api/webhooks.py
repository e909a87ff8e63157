"""``/webhooks``: what an operator sees of all deliveries, sends again after an outage, and tries beforehand."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import falcon

from foreman.api.body import read_json
from foreman.api.cursor import cursor_of, place_of
from foreman.api.momentary import answer
from foreman.api.places import Places
from foreman.api.problems import BAD_PARAMETER, HTTPProblem
from foreman.api.query import DEFAULT_LIMIT, ULID, job_id_of, limit_of, parameters_of
from foreman.domain.address import Policy
from foreman.domain.delivery import is_success
from foreman.domain.event import event_id
from foreman.domain.moment import rfc3339, rfc3339_or_none
from foreman.domain.webhook_order import read_ping, read_recovery
from foreman.errors import JobNotFound
from foreman.services.ping import Pinger
from foreman.services.redeliver import Redeliverer
from foreman.store.deliveries import STATUSES, Deliveries, Entry, EventFilter

#: Pings that one web process makes at once. A person makes one at a time; more would make foreman a scanner.
MAX_PINGS = 4

#: Job and sequence of the last event on a page.
_PLACE = re.compile(rf"({ULID.pattern}):(\d{{1,4}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebhookEventsResource:
    """``GET /webhooks/events``."""

    deliveries: Deliveries

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List events of all jobs: those of the newest job first."""
        wanted = _filter(req)
        found = self.deliveries.events(replace(wanted, limit=wanted.limit + 1))
        page = found[: wanted.limit]
        cursor = cursor_of(page[-1].job_id, page[-1].sequence) if len(found) > len(page) else None
        answer(resp, {"events": [_shown(each) for each in page], "next_cursor": cursor})

    on_head = on_get


@dataclass(frozen=True, slots=True)
class RecoverResource:
    """``POST /webhooks/recover``."""

    redeliverer: Redeliverer
    max_body_b: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send again what died since a moment, and say how many events that is."""
        wanted = read_recovery(read_json(req, self.max_body_b))
        answer(resp, {"recovered": self.redeliverer.recover(wanted)})
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
        answer(
            resp,
            {
                "outcome": "delivered" if is_success(attempt.status) else "failed",
                "status": attempt.status,
                "error": attempt.error,
                "duration_ms": attempt.duration_ms,
            },
        )


def _filter(req: falcon.Request) -> EventFilter:
    given = parameters_of(req, {"status", "job_id", "limit", "cursor"})
    status = given.get("status")
    if status is not None and status not in STATUSES:
        raise HTTPProblem(BAD_PARAMETER, f"status must be one of {', '.join(STATUSES)}.")
    return EventFilter(
        status=status,
        job_id=_job_id(given["job_id"]) if "job_id" in given else None,
        before=_place(given["cursor"]) if "cursor" in given else None,
        limit=limit_of(given.get("limit", str(DEFAULT_LIMIT))),
    )


def _job_id(text: str) -> str:
    try:
        return job_id_of(text)
    except JobNotFound:
        raise HTTPProblem(BAD_PARAMETER, "job_id must be the id of a job.") from None


def _place(cursor: str) -> tuple[str, int]:
    job_id, sequence = place_of(cursor, _PLACE).groups()
    return job_id, int(sequence)


def _shown(entry: Entry) -> dict[str, Any]:
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
