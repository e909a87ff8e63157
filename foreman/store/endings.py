"""The ends of a job that nobody's run brings about: somebody cancels it, or it waited too long to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreman.domain.completion import partial_of, text_in
from foreman.domain.job import Job, JobFailure, Moment
from foreman.domain.lifecycle import TERMINAL, Cause, State
from foreman.errors import JobNotFound, JobTerminal
from foreman.store.artifacts import keep
from foreman.store.claims import ended_on_request
from foreman.store.database import locked, write
from foreman.store.models import ArtifactRow, JobRow
from foreman.store.outbox import Outbox
from foreman.store.rows import error_columns, job_from_row

#: Jobs failed by one call of ``start_deadlines``: a bounded transaction, and whoever wants more calls again.
BATCH = 200


@dataclass(frozen=True, slots=True)
class Endings:
    """The jobs table, for whoever ends a job from outside."""

    outbox: Outbox

    def cancel(self, job_id: str, cause: Cause, at: Moment) -> Job:
        """End the job: at once if nobody runs it; else whoever does is told, and the returned job is still live.

        Asking again changes nothing: a job that was cancelled for this cause is returned as it is.

        Raises:
            JobNotFound: there is none.
            JobTerminal: it ended otherwise.
        """
        with write():
            row = locked(JobRow.select().where(JobRow.id == job_id)).first()
            if row is None:
                raise JobNotFound(job_id)
            if State(row.state) in TERMINAL:
                if row.error_code == cause:
                    return job_from_row(row)
                raise JobTerminal(job_id)
            if row.lease_until is not None:
                row.cancel_code = row.cancel_code or cause
                JobRow.update(cancel_code=row.cancel_code).where(JobRow.id == job_id).execute()
                return job_from_row(row)
            _keep_text_only(job_id, at)
            job = self.outbox.move(job_id, State.FAILED, at, **error_columns(ended_on_request(cause)))
            return job or job_from_row(row)

    def start_deadlines(self, now: Moment) -> Sequence[Job]:
        """Fail at most ``BATCH`` jobs that had to leave ``queued`` before ``now`` and have not, and return them."""
        with write():
            # Only queued jobs have ``start_by``. To name the state as well would make SQLite walk all that are queued.
            late = (JobRow.start_by <= now) & JobRow.lease_until.is_null()
            rows = list(locked(JobRow.select(JobRow.id, JobRow.start_deadline_s).where(late).limit(BATCH), skip=True))
            moved = [self._too_late(row, now) for row in rows]
            return [job for job in moved if job is not None]

    def _too_late(self, row: JobRow, now: Moment) -> Job | None:
        failure = JobFailure(Cause.START_DEADLINE, f"the job did not start within {row.start_deadline_s:g} s")
        return self.outbox.move(row.id, State.FAILED, now, **error_columns(failure))


def _keep_text_only(job_id: str, at: Moment) -> None:
    """A run that is over already has left its completion to be stored: what is kept is what any cancelled job keeps."""
    unstored = (ArtifactRow.job_id == job_id) & ArtifactRow.stored_at.is_null()
    for row in list(ArtifactRow.delete().where(unstored).returning(ArtifactRow.data).execute()):
        if partial := partial_of(job_id, text_in(bytes(row.data))):
            keep(partial, at, stored_at=at)
