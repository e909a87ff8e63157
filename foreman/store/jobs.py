"""Jobs as submitters see them: accepted once, found by id, listed newest first, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman.clock import first_id
from foreman.domain.api_key import ANYBODY, Caller
from foreman.domain.lifecycle import State
from foreman.errors import JobGone, JobNotFound
from foreman.store import quota
from foreman.store.arrivals import Arrival, Submitted, Tell, accept
from foreman.store.database import locked, read
from foreman.store.models import JobRow, LabelRow, PayloadRow, TombstoneRow
from foreman.store.prepared import Statement
from foreman.store.room import Room
from foreman.store.rows import NewJob, job_columns, job_from_row, label, labels

if TYPE_CHECKING:
    from foreman.domain.job import Job, JobRequest, Moment
    from foreman.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a listing shows; None does not restrict. ``before`` is the last id of the page before."""

    state: State | None = None
    model: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    created_after: Moment | None = None
    before: str | None = None
    limit: int = 50
    #: The key whose jobs are shown.
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs table, for whoever does not run them."""

    outbox: Outbox
    #: In the queue; every other copy of this store for the same queue has the same.
    room: Room
    #: Whether a submission is on the disk when it returns, as for ``write``: no reply may tell of it before. One with a
    #: webhook always is, since its receiver is told that it is queued.
    durable: bool = True

    def submit(  # noqa: PLR0913 - who submits what, when and how, and who is to know
        self,
        request: JobRequest,
        *,
        job_id: str,
        key: str | None,
        now: Moment,
        caller: Caller = ANYBODY,
        tell: Tell | None = None,
    ) -> Submitted:
        """Commit a new job of ``caller``, or find the one that ``key`` made before; each caller has keys of its own.

        ``tell`` is called after the commit, before this returns, with all new jobs that were committed together: in the
        thread of one of those that submitted them. A job that was found is not among them.

        Raises:
            IdempotencyConflict: ``key`` belongs to a job with another body.
            QueueFull: as many jobs are queued as may be; an earlier job's key is still answered.
            TooManyQueued, TooManySubmissions: the caller may not have another; an earlier job's key is still answered.
            StoreUnavailable: nothing was written.
        """
        if key is not None and caller.owner:
            key = f"{caller.owner}\t{key}"
        row = NewJob(**job_columns(job_id, request, key, now), owner=caller.owner)
        job = job_from_row(row)
        return accept(
            Arrival(
                job,
                row,
                request.payload,
                sorted(labels(request.metadata)),
                self.outbox.first_event(job),
                caller,
                self.room,
                durable=self.durable or request.webhook is not None,
                tell=tell,
            )
        )

    def get(self, job_id: str) -> Job:
        """The job called ``job_id``.

        Raises:
            JobNotFound: there was never one.
            JobGone: there was one.
        """
        with read():
            row = _BY_ID.first(job_id=job_id)
            if row is not None:
                return job_from_row(row)
            if TombstoneRow.select().where(TombstoneRow.job_id == job_id).exists():
                raise JobGone(job_id)
        raise JobNotFound(job_id)

    def owner(self, job_id: str) -> str | None:
        """The key whose job it is or was, ``""`` for one submitted without; None if there was never one."""
        with read():
            owner = _OWNER.scalar(job_id=job_id)
            if owner is None:
                owner = TombstoneRow.select(TombstoneRow.owner).where(TombstoneRow.job_id == job_id).scalar()
        return None if owner is None else str(owner)

    def state(self, job_id: str) -> State | None:
        """The state of a job, or None if there is none: the cheapest look there is, for those who wait."""
        with read():
            state = _STATE.scalar(job_id=job_id)
        return None if state is None else State(state)

    def payload(self, job_id: str) -> bytes | None:
        """What is sent upstream, JSON; None if there is no such job."""
        with read():
            body = PAYLOAD.scalar(job_id=job_id)
        return None if body is None else bytes(body)

    def page(self, wanted: Filter) -> list[Job]:
        """At most ``wanted.limit`` jobs, newest first; the last one's id is the next page's ``before``."""
        query = JobRow.select()
        if wanted.owner is not None:
            query = query.where(quota.owned(wanted.owner))
        if wanted.state is not None:
            query = query.where(JobRow.state == wanted.state)
        if wanted.model is not None:
            query = query.where(JobRow.model == wanted.model)
        if wanted.created_after is not None:
            # Ids are of the moment of submission: with their bound, a page ends where the older jobs begin.
            query = query.where(JobRow.created_at > wanted.created_after, JobRow.id > first_id(wanted.created_after))
        if wanted.before is not None:
            query = query.where(JobRow.id < wanted.before)
        for key, value in wanted.metadata:
            labelled = LabelRow.select(LabelRow.job_id).where(LabelRow.digest == label(key, value))
            query = query.where(JobRow.id.in_(labelled))
        with read():
            return [job_from_row(row) for row in query.order_by(JobRow.id.desc()).limit(wanted.limit)]


_BY_ID = Statement(lambda given: JobRow.select().where(JobRow.id == given.job_id))

_OWNER = Statement(lambda given: JobRow.select(JobRow.owner).where(JobRow.id == given.job_id))

_STATE = Statement(lambda given: JobRow.select(JobRow.state).where(JobRow.id == given.job_id))

#: Takes the job's row, where rows are locked: nobody else moves the job or adds an event of it in this transaction.
LOCK = Statement(lambda given: locked(JobRow.select(JobRow.id).where(JobRow.id == given.job_id)))

#: What is sent upstream.
PAYLOAD = Statement(lambda given: PayloadRow.select(PayloadRow.body).where(PayloadRow.job_id == given.job_id))
