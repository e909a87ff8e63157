"""``POST /jobs/{id}/cancel``: ends a job, and answers when it has ended. Contract section 2."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman.api.query import job_id_of
from foreman.api.view import JobView
from foreman.api.waiting import WaitingRoom
from foreman.domain.job import Job
from foreman.domain.lifecycle import TERMINAL, Cause
from foreman.errors import JobNotFound, JobTerminal
from foreman.services.cancel import Canceller
from foreman.store.jobs import Jobs

#: Seconds the answer waits for the run to end; it takes half a second, and the contract promises two.
WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class CancelResource:
    """``POST`` only, and as often as one likes."""

    canceller: Canceller
    jobs: Jobs
    view: JobView
    waiting: WaitingRoom

    def on_post(self, _req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Cancel the job, and answer with it.

        200 once it has ended, 202 if its run takes longer to end; 409 if it ended for another reason.
        """
        job_id = job_id_of(job_id)
        job = self._cancel(job_id)
        if job.state not in TERMINAL:
            self.waiting.until_ended(job_id, WAIT_S)
            job = self.jobs.get(job_id)
        if job.state in TERMINAL and (job.failure is None or job.failure.code is not Cause.CANCELLED):
            raise JobTerminal(job_id)
        resp.status = HTTPStatus.OK if job.state in TERMINAL else HTTPStatus.ACCEPTED
        resp.data = self.view.show(job_id).body
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", "no-store")

    def _cancel(self, job_id: str) -> Job:
        try:
            return self.canceller.cancel(job_id)
        except JobNotFound:
            # What is gone is told from what never was.
            return self.jobs.get(job_id)
