"""Jobs as they come in: each is judged by itself, and on SQLite those that meet are committed together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from peewee import SQL, IntegrityError, fn

from foreman.domain.job import Job
from foreman.domain.lifecycle import State
from foreman.errors import AllowanceUsedUp, IdempotencyConflict, QueueFull
from foreman.rounds import Rounds
from foreman.store import quota
from foreman.store.database import is_postgres, read, write
from foreman.store.models import JobRow, LabelRow, PayloadRow
from foreman.store.outbox import EVENTS
from foreman.store.prepared import Insertion, Statement
from foreman.store.rows import job_from_row

if TYPE_CHECKING:
    from foreman.domain.api_key import Caller
    from foreman.domain.job import Moment
    from foreman.store.room import Room

#: How far back the drain rate looks, milliseconds: long enough to hold a few jobs of minutes each.
DRAIN_WINDOW_MS = 600_000

#: What ``Retry-After`` says when no job ended within the window, seconds.
DRAIN_UNKNOWN_S = 60

#: The condition of the partial index over the queue, as a literal: a parameter would not be known to match it.
QUEUED = JobRow.state == SQL(f"'{State.QUEUED}'")

#: Submissions committed together at most: some 10 ms in which nobody else writes.
ROUND = 64

#: Why a submission is not taken, however often it is repeated at once.
Refusal = IdempotencyConflict | QueueFull | AllowanceUsedUp

#: Who is told of the jobs that were made by one commit.
Tell = Callable[[Sequence[Job]], None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission: a job, which an ``Idempotency-Key`` may have found instead of made."""

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """A submission that is to be committed, with all that could be made of it before."""

    job: Job
    #: The job's row, and that of its event if it has one: as ``Insertion`` takes them.
    row: Any
    payload: bytes
    labels: Sequence[str]
    event: Any
    caller: Caller
    room: Room
    #: Whether it must be on the disk when its caller is answered.
    durable: bool
    tell: Tell | None


def accept(arrival: Arrival) -> Submitted:
    """Commit the job, or find the one that its key made before. Raises as ``Jobs.submit``."""
    try:
        # PostgreSQL commits on many connections at once, and shares the waits for the disk by itself.
        outcome = _alone(arrival) if is_postgres() else _ROUNDS.ask(arrival)
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


def _alone(arrival: Arrival) -> Submitted | Refusal:
    outcomes = _commit([arrival])
    _tell([arrival], outcomes)
    return outcomes[0]


def _commit(arrivals: Sequence[Arrival]) -> Sequence[Submitted | Refusal]:
    """Commit all of them at once. Each is judged as if those before it were committed; a refused one writes nothing.

    Raises:
        StoreUnavailable: none of them was written.
    """
    with write(durable=any(each.durable for each in arrivals)):
        batch = _Batch()
        outcomes = [batch.judge(each) for each in arrivals]
        batch.flush()
    return outcomes


def _tell(arrivals: Sequence[Arrival], outcomes: Sequence[Submitted | Refusal]) -> None:
    """Tell of the jobs that are new, all at once where it is the same who is told."""
    made: defaultdict[Tell, list[Job]] = defaultdict(list)
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        if arrival.tell is not None and isinstance(outcome, Submitted) and not outcome.replayed:
            made[arrival.tell].append(outcome.job)
    for tell, jobs in made.items():
        tell(jobs)


class _Batch:
    """What a round has accepted and not yet written: it is, before anything is looked up that it would change."""

    def __init__(self) -> None:
        self._accepted: list[Arrival] = []
        self._keys: set[str] = set()

    def judge(self, arrival: Arrival) -> Submitted | Refusal:
        """Take the job in, or find the one that its key made before, or say why neither."""
        try:
            if arrival.row.idempotency_key in self._keys:
                self.flush()
            return _replay(arrival) or self._take(arrival)
        except (IdempotencyConflict, QueueFull, AllowanceUsedUp) as refusal:
            return refusal

    def flush(self) -> None:
        """Write all that was accepted since the last time."""
        accepted, self._accepted = self._accepted, []
        self._keys.clear()
        _JOBS.execute([each.row for each in accepted])
        _PAYLOADS.execute([(each.job.id, each.payload) for each in accepted])
        _LABELS.execute([(digest, each.job.id) for each in accepted for digest in each.labels])
        EVENTS.execute([each.event for each in accepted if each.event is not None])

    def _take(self, arrival: Arrival) -> Submitted:
        now = arrival.job.created_at
        if arrival.caller.allowance.is_counted:
            self.flush()
        quota.check(arrival.caller, now, _retry_after_s)
        if not arrival.room.take(lambda: self._queued(arrival.room.limit), now):
            raise QueueFull(arrival.room.limit, _retry_after_s(now))
        self._accepted.append(arrival)
        if arrival.row.idempotency_key is not None:
            self._keys.add(arrival.row.idempotency_key)
        return Submitted(arrival.job, replayed=False)

    def _queued(self, limit: int) -> int:
        """How many jobs are queued, counted no further than ``limit``."""
        self.flush()
        return int(_queued_up_to(limit).scalar())


def _replay(arrival: Arrival) -> Submitted | None:
    """The job that the key made before."""
    key = arrival.row.idempotency_key
    row = None if key is None else _BY_KEY.first(key=key)
    if row is None:
        return None
    if row.digest != arrival.row.digest:
        raise IdempotencyConflict(row.id)
    return Submitted(job_from_row(row), replayed=True)


def _retry_after_s(now: Moment) -> int:
    """Seconds until one place should be free, from how fast jobs ended lately."""
    ended = JobRow.select().where(JobRow.ended_at > now - DRAIN_WINDOW_MS)
    first, count = ended.select(fn.MIN(JobRow.ended_at), fn.COUNT(JobRow.id)).scalar(as_tuple=True)
    if not count:
        return DRAIN_UNKNOWN_S
    return max(1, min(3600, round((now - int(first)) / int(count) / 1000)))


#: The submissions of this process that wait for SQLite's turn to write: they share it, and one commit.
_ROUNDS: Rounds[Arrival, Submitted | Refusal] = Rounds(_commit, ROUND, then=_tell)

_JOBS, _PAYLOADS, _LABELS = Insertion(JobRow), Insertion(PayloadRow), Insertion(LabelRow)

_BY_KEY = Statement(lambda given: JobRow.select().where(JobRow.idempotency_key == given.key))


@cache
def _queued_up_to(limit: int) -> Statement:
    queued = JobRow.select(JobRow.id).where(QUEUED).limit(limit).alias("_wrapped")
    return Statement(lambda _: JobRow.select(fn.COUNT(SQL("1"))).from_(queued))
