"""Ends a job because somebody no longer wants it: at once when nobody runs it, else through whoever does."""

from __future__ import annotations

from dataclasses import dataclass

from foreman import clock, logs
from foreman.domain.job import Job
from foreman.domain.lifecycle import TERMINAL, Cause
from foreman.queue.announcer import Announcer
from foreman.store.endings import Endings

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Canceller:
    """What ``POST /jobs/{id}/cancel`` does, and what follows when a synchronous client hangs up."""

    endings: Endings
    announcer: Announcer

    def cancel(self, job_id: str, cause: Cause = Cause.CANCELLED) -> Job:
        """Ask for the end of a job; the returned one is live if a run must end first, which takes at most 2 s.

        Raises:
            JobNotFound, JobTerminal, StoreUnavailable: nothing was changed.
        """
        job = self.endings.cancel(job_id, cause, clock.now())
        log.info("job cancelled", job_id=job_id, code=str(cause), state=str(job.state))
        if job.state in TERMINAL:
            self.announcer.announce(job)
        return job
