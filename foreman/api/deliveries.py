"""``/jobs/{id}/deliveries``: every try to tell a job's receiver of it, and one more where that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman import clock
from foreman.api import shown
from foreman.api.momentary import answer
from foreman.api.parameter import Parameter, parameters_of
from foreman.api.query import MAX_LIMIT, cursor, cursor_of, job_id_of, limit, limit_of
from foreman.api.representation import location
from foreman.domain.event import event_id
from foreman.domain.lifecycle import State
from foreman.domain.moment import rfc3339
from foreman.domain.submission import STATES
from foreman.errors import EventNotFound
from foreman.services.redeliver import Redeliverer
from foreman.store.deliveries import Deliveries, Try
from foreman.store.jobs import Jobs

EVENT_STATE = Parameter("state", "path", STATES, "The state that the event tells.", "done")
#: A cursor is moment, sequence and attempt of the last try on a page.
TRIES = (limit(MAX_LIMIT), cursor(r"[0-9]{1,15}\.[0-9]{1,4}\.[0-9]{1,9}"))


@dataclass(frozen=True, slots=True)
class DeliveriesResource:
    """``GET /jobs/{id}/deliveries``."""

    jobs: Jobs
    deliveries: Deliveries

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """List the tries of all of the job's events, oldest first."""
        given = parameters_of(req, TRIES)
        most = limit_of(given, MAX_LIMIT)
        after = _place(given["cursor"]) if "cursor" in given else None
        job = self.jobs.get(job_id_of(job_id))
        found = self.deliveries.tries(job.id, clock.now(), after=after, limit=most + 1)
        page = found[:most]
        following = _cursor_after(page[-1]) if len(found) > most else None
        told: shown.DeliveryPage = {"deliveries": [_shown(job.id, each) for each in page], "next_cursor": following}
        answer(resp, told)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class RedeliverResource:
    """``POST /jobs/{id}/deliveries/{state}/redeliver``."""

    jobs: Jobs
    redeliverer: Redeliverer

    def on_post(self, _req: falcon.Request, resp: falcon.Response, job_id: str, state: str) -> None:
        """Send the event again. The answer comes before the try: that is for ``Location`` to tell."""
        job = self.jobs.get(job_id_of(job_id))
        if state not in STATES.words:
            raise EventNotFound(job.id, state)
        self.redeliverer.redeliver(job.id, State(state))
        resp.status = HTTPStatus.ACCEPTED
        told: shown.Redelivery = {
            "event_id": event_id(job.id, State(state)),
            "state": State(state),
            "status": "pending",
        }
        answer(resp, told)
        resp.set_header("Location", f"{location(job.id)}/deliveries")


def _cursor_after(last: Try) -> str:
    return cursor_of(last.at, last.sequence, last.attempt)


def _place(text: str) -> tuple[int, int, int]:
    at, sequence, attempt = map(int, text.split("."))
    return at, sequence, attempt


def _shown(job_id: str, made: Try) -> shown.Delivery:
    return {
        "event_id": event_id(job_id, made.state),
        "state": made.state,
        "sequence": made.sequence,
        "attempt": made.attempt,
        "at": rfc3339(made.at),
        "duration_ms": made.duration_ms,
        "outcome": made.outcome,
        "status": made.status,
        "error": made.error,
        "response_excerpt": made.excerpt,
    }
