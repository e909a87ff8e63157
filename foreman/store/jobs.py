"""Jobs as submitters see them: accepted once, found by id, listed newest first, counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from peewee import SQL, IntegrityError, fn

from foreman.clock import first_id
from foreman.domain.api_key import ANYBODY, Caller
from foreman.domain.lifecycle import State
from foreman.errors import AllowanceUsedUp, IdempotencyConflict, JobGone, JobNotFound, QueueFull
from foreman.rounds import Rounds
from foreman.store import quota
from foreman.store.database import is_postgres, locked, read, write
from foreman.store.models import JobRow, LabelRow, PayloadRow, TombstoneRow
from foreman.store.prepared import Statement
from foreman.store.room import Room
from foreman.store.rows import job_columns, job_from_row, label, labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Job, JobRequest, Moment
    from foreman.store.outbox import Outbox

#: How far back the drain rate looks, milliseconds: long enough to hold a few jobs of minutes each.
DRAIN_WINDOW_MS = 600_000

#: What ``Retry-After`` says when no job ended within the window, seconds.
DRAIN_UNKNOWN_S = 60

#: The condition of the partial index over the queue, as a literal: a parameter would not be known to match it.
QUEUED = JobRow.state == SQL(f"'{State.QUEUED}'")

#: Labels written by one INSERT: two variables each, far below either engine's limit.
LABEL_BATCH = 400


#: Submissions committed together at most: some 10 ms in which nobody else writes.
ROUND = 64

#: Why a submission is not taken, however often it is repeated at once.
Refusal = IdempotencyConflict | QueueFull | AllowanceUsedUp


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission: a job, which an ``Idempotency-Key`` may have found instead of made."""

    job: Job
    replayed: bool


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

    def submit(
        self, request: JobRequest, *, job_id: str, key: str | None, now: Moment, caller: Caller = ANYBODY
    ) -> Submitted:
        """Commit a new job of ``caller``, or find the one that ``key`` made before; each caller has keys of its own.

        Raises:
            IdempotencyConflict: ``key`` belongs to a job with another body.
            QueueFull: as many jobs are queued as may be; an earlier job's key is still answered.
            TooManyQueued, TooManySubmissions: the caller may not have another; an earlier job's key is still answered.
            StoreUnavailable: nothing was written.
        """
        if key is not None and caller.owner:
            key = f"{caller.owner}\t{key}"
        columns = job_columns(job_id, request, key, now) | {"owner": caller.owner}
        arrival = Arrival(self, request, columns, sorted(labels(request.metadata)), caller)
        try:
            # PostgreSQL commits on many connections at once, and shares the waits for the disk by itself.
            outcome = _commit([arrival])[0] if is_postgres() else _ROUNDS.ask(arrival)
        except IntegrityError:
            # Two requests raced with one key on PostgreSQL, and the other committed first.
            with read():
                found = _replay(arrival)
            if found is None:
                raise
            outcome = found
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def insert(self, arrival: Arrival) -> Submitted:
        """Make the job, within the caller's transaction.

        Raises:
            QueueFull, TooManyQueued, TooManySubmissions: nothing was written.
        """
        now = arrival.columns["created_at"]
        quota.check(arrival.caller, now, self._retry_after_s)
        if not self.room.take(self._queued, now):
            raise QueueFull(self.room.limit, self._retry_after_s(now))
        row = _insert(tuple(arrival.columns)).first(**arrival.columns)
        _INSERT_PAYLOAD.execute(job_id=row.id, body=arrival.request.payload)
        for start in range(0, len(arrival.labels), LABEL_BATCH):
            batch = arrival.labels[start : start + LABEL_BATCH]
            LabelRow.insert_many([{"digest": each, "job_id": row.id} for each in batch]).execute()
        self.outbox.announce(row)
        return Submitted(job_from_row(row), replayed=False)

    def _queued(self) -> int:
        """How many jobs are queued, counted no further than the bound."""
        return int(_queued_up_to(self.room.limit).scalar())

    def _retry_after_s(self, now: Moment) -> int:
        """Seconds until one place should be free, from how fast jobs ended lately."""
        ended = JobRow.select().where(JobRow.ended_at > now - DRAIN_WINDOW_MS)
        first, count = ended.select(fn.MIN(JobRow.ended_at), fn.COUNT(JobRow.id)).scalar(as_tuple=True)
        if not count:
            return DRAIN_UNKNOWN_S
        return max(1, min(3600, round((now - int(first)) / int(count) / 1000)))

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


@dataclass(frozen=True, slots=True)
class Arrival:
    """A submission that is to be committed, with all that could be made of it before."""

    jobs: Jobs
    request: JobRequest
    columns: dict[str, Any]
    labels: Sequence[str]
    caller: Caller

    @property
    def durable(self) -> bool:
        """Whether it must be on the disk when its caller is answered."""
        return self.jobs.durable or self.request.webhook is not None


def _commit(arrivals: Sequence[Arrival]) -> Sequence[Submitted | Refusal]:
    """Commit all of them at once. Each is judged as if those before it were committed; a refused one writes nothing.

    Raises:
        StoreUnavailable: none of them was written.
    """
    with write(durable=any(each.durable for each in arrivals)):
        return [_accept(each) for each in arrivals]


def _accept(arrival: Arrival) -> Submitted | Refusal:
    try:
        return _replay(arrival) or arrival.jobs.insert(arrival)
    except (IdempotencyConflict, QueueFull, AllowanceUsedUp) as refusal:
        return refusal


def _replay(arrival: Arrival) -> Submitted | None:
    """The job that the key made before."""
    key = arrival.columns["idempotency_key"]
    row = None if key is None else _BY_KEY.first(key=key)
    if row is None:
        return None
    if row.digest != arrival.request.digest:
        raise IdempotencyConflict(row.id)
    return Submitted(job_from_row(row), replayed=True)


#: The submissions of this process that wait for SQLite's turn to write: they share it, and one commit.
_ROUNDS: Rounds[Arrival, Submitted | Refusal] = Rounds(_commit, ROUND)

_BY_ID = Statement(lambda given: JobRow.select().where(JobRow.id == given.job_id))

_BY_KEY = Statement(lambda given: JobRow.select().where(JobRow.idempotency_key == given.key))

_OWNER = Statement(lambda given: JobRow.select(JobRow.owner).where(JobRow.id == given.job_id))

_STATE = Statement(lambda given: JobRow.select(JobRow.state).where(JobRow.id == given.job_id))

#: Takes the job's row, where rows are locked: nobody else moves the job or adds an event of it in this transaction.
LOCK = Statement(lambda given: locked(JobRow.select(JobRow.id).where(JobRow.id == given.job_id)))

#: What is sent upstream.
PAYLOAD = Statement(lambda given: PayloadRow.select(PayloadRow.body).where(PayloadRow.job_id == given.job_id))

_INSERT_PAYLOAD = Statement(lambda given: PayloadRow.insert(job_id=given.job_id, body=given.body))


@cache
def _insert(columns: tuple[str, ...]) -> Statement:
    """The INSERT of a job that gives ``columns``, and the rest its model's defaults."""
    return Statement(lambda given: JobRow.insert({each: getattr(given, each) for each in columns}).returning(JobRow))


@cache
def _queued_up_to(limit: int) -> Statement:
    queued = JobRow.select(JobRow.id).where(QUEUED).limit(limit).alias("_wrapped")
    return Statement(lambda _: JobRow.select(fn.COUNT(SQL("1"))).from_(queued))
