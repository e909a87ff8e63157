"""``/jobs`` and ``/jobs/{id}``: submit, list, read and delete. Contract sections 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus

import falcon

from foreman import clock
from foreman.api import shown
from foreman.api.body import read_json
from foreman.api.gate import admitted, caller_of
from foreman.api.headers import idempotency_key, preferred_wait_s, unchanged
from foreman.api.momentary import answer
from foreman.api.newcomers import Newcomers
from foreman.api.query import cursor_of, filter_of, job_id_of, wait_s_of
from foreman.api.representation import accepted, location, summary
from foreman.api.view import JobView
from foreman.api.waiting import WaitingRoom
from foreman.domain import submission
from foreman.domain.address import Policy
from foreman.domain.job import Limits
from foreman.domain.lifecycle import TERMINAL
from foreman.errors import JobError, StoreUnavailable
from foreman.services.prune import Pruner
from foreman.services.submit import Submitter
from foreman.store.arrivals import Submitted
from foreman.store.jobs import Jobs
from foreman.store.line import Line

#: A job changes by itself, so no cache may answer for it unasked; its ETag makes the question cheap.
REVALIDATE = "private, no-cache"


@dataclass(frozen=True, slots=True)
class JobsResource:
    """``POST`` and ``GET /jobs``. ``defaults`` and ``policy`` are what a submission is read with."""

    submitter: Submitter
    jobs: Jobs
    line: Line
    newcomers: Newcomers
    view: JobView
    waiting: WaitingRoom
    defaults: Limits
    policy: Policy
    max_body_b: int

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Accept a job. From the commit on every answer is a promise, so nothing after it may turn into an error."""
        key = idempotency_key(req)
        body = read_json(req, self.max_body_b)
        request = submission.read(body, defaults=self.defaults, policy=self.policy)
        submitted = self.submitter.submit(admitted(req, request, body), key, caller_of(req))
        job = submitted.job
        resp.set_header("Location", location(job.id))
        resp.set_header("Cache-Control", "no-store")
        if submitted.replayed:
            resp.set_header("Idempotent-Replayed", "true")
        wait_s = preferred_wait_s(req)
        if wait_s is not None and self.waiting.until_ended(job.id, wait_s):
            resp.set_header("Preference-Applied", f"wait={wait_s}")
        shown = None if wait_s is None else self._ended(job.id)
        resp.status = HTTPStatus.ACCEPTED if shown is None else HTTPStatus.OK
        resp.data = accepted(job, self._position(submitted)) if shown is None else shown
        resp.content_type = falcon.MEDIA_JSON

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List jobs, newest first. One more than the page is read, to know whether there is another page."""
        wanted = replace(filter_of(req), owner=caller_of(req).view)
        found = self.jobs.page(replace(wanted, limit=wanted.limit + 1))
        page = found[: wanted.limit]
        more = len(found) > len(page)
        following = cursor_of(page[-1].id) if more else None
        told: shown.JobPage = {"jobs": [summary(job) for job in page], "next_cursor": following}
        answer(resp, told)

    on_head = on_get

    def _ended(self, job_id: str) -> bytes | None:
        """The job as GET shows it, if it has ended."""
        try:
            return self.view.show(job_id).body if self.jobs.state(job_id) in TERMINAL else None
        except (JobError, StoreUnavailable):
            return None

    def _position(self, submitted: Submitted) -> int | None:
        line = self.line if submitted.replayed else self.newcomers
        try:
            return line.position(submitted.job, clock.now())
        except StoreUnavailable:
            return None


@dataclass(frozen=True, slots=True)
class JobResource:
    """``GET`` and ``DELETE /jobs/{id}``."""

    view: JobView
    waiting: WaitingRoom
    pruner: Pruner

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show a job, after it has ended or ``?wait=`` is over; 304 if the client has it as it is."""
        wait_s = wait_s_of(req)
        job_id = job_id_of(job_id)
        if wait_s:
            self.waiting.until_ended(job_id, wait_s)
        shown = self.view.show(job_id)
        if unchanged(req, resp, shown.etag, REVALIDATE):
            return
        resp.data = shown.body
        resp.content_type = falcon.MEDIA_JSON

    on_head = on_get

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Purge a job that has ended, and all that belongs to it."""
        self.pruner.delete(job_id_of(job_id))
        resp.status = HTTPStatus.NO_CONTENT
