"""Who may run which job: leases with a fencing token, slots counted in the database, attempts and their end.

Slots in use are the jobs with a lease, so a slot whose worker died is free again when its lease is expired, and never
before. Every write of a run carries the claim's token; once the lease has gone to somebody else it raises StaleLease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from foreman.domain.fault import presentable
from foreman.domain.job import Artifact, Claim, Job, JobFailure, Moment, NoClaim, Priority, Spent
from foreman.domain.lifecycle import Cause, State
from foreman.domain.schedule import Choice, Policy, choose, homes
from foreman.domain.upstream import Slots, Standing, next_try, servers
from foreman.errors import StaleLease
from foreman.store import heads, timings
from foreman.store.artifacts import keep
from foreman.store.database import locked, read, write
from foreman.store.jobs import LOCK, PAYLOAD
from foreman.store.models import JobRow, UpstreamRow
from foreman.store.outbox import Outbox
from foreman.store.prepared import Statement
from foreman.store.rows import error_columns, job_from_row, to_text
from foreman.store.shared import write_shared
from foreman.store.upstreams import Upstreams, lock, release

#: Leases looked at by one call of ``expire``: a whole fleet's worth, and still a short transaction.
EXPIRY_BATCH = 200
#: Jobs of one model failed by one call of ``unplaceable``: a short transaction; the next sweep is seconds away.
FAILING_BATCH = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """The jobs table, for whoever runs them. ``lease_ms`` is how long a claim holds unless it is renewed."""

    outbox: Outbox
    upstreams: tuple[Slots, ...]
    policy: Policy
    lease_ms: int

    @property
    def slots(self) -> int:
        """How many jobs run at once, over all upstreams."""
        return sum(each.count for each in self.upstreams)

    def claim(self, now: Moment) -> Claim | NoClaim:
        """Take the best ready job if a slot is free: no upstream ever has more leases than slots, whoever asks.

        Raises:
            StoreUnavailable: nothing was taken.
        """
        if not self.ready(now, 1):
            return NoClaim()
        # With the power goes the worker too, and who was told of the claim: undone, the job waits as it did before.
        return write_shared(lambda: self._claim(now), durable=False)

    def _claim(self, now: Moment) -> Claim | NoClaim:
        standings = {each.name: each for each in lock(self.upstreams)}
        all_servers = servers(standings.values(), now)
        while choice := choose(all_servers, heads.candidates(all_servers, now), self.policy, now):
            claim = self._take(choice, standings[choice.server.name].failures, now)
            if claim is not None:
                return claim
        return NoClaim()

    def _take(self, choice: Choice, failures: int, now: Moment) -> Claim | None:
        """Lease the chosen job; None if it was ended since it was looked at, which only happens on PostgreSQL."""
        job, server = choice.job, choice.server
        until = now + self.lease_ms
        row = _TAKE.first(job_id=job.job_id, upstream=server.name, lease_until=until, claimed_at=now)
        if row is None:
            return None
        if choice.warm:
            _GO_ON.execute(name=server.name, model=job.model, streak=server.streak + 1)
        else:
            _LOAD.execute(name=server.name, model=job.model)
        return Claim(
            job=job_from_row(row),
            payload=bytes(PAYLOAD.scalar(job_id=row.id)),
            token=row.lease_token,
            upstream=server.name,
            warm=choice.warm,
            losses=row.losses,
            upstream_failures=failures,
        )

    def renew(self, claim: Claim, now: Moment) -> None:
        """Hold the claim for another ``lease_ms``.

        Raises:
            StaleLease: it is somebody else's now; stop the run.
        """
        with write():
            _update(claim, lease_until=now + self.lease_ms)

    def wanted(self, claim: Claim) -> Cause | None:
        """Why somebody wants the run ended, if anybody does."""
        with read():
            code = _CANCEL_CODE.scalar(job_id=claim.job.id)
        return None if code is None else Cause(code)

    def begin(self, claim: Claim, state: State, at: Moment) -> Sequence[Job]:
        """The run has come to ``state``; returns the job as it was after each move, none if an earlier run came as far.

        Raises:
            StaleLease: the claim is void.
        """
        return write_shared(lambda: self._begin(claim, state, at))

    def _begin(self, claim: Claim, state: State, at: Moment) -> Sequence[Job]:
        reached = _REACHED.scalar(job_id=claim.job.id, token=claim.token)
        if reached is None:
            raise StaleLease(claim.job.id)
        if State(reached).rank >= state.rank:
            return []
        # Where there was nothing to load, nothing was sent that could have begun it; it is announced all the same.
        skips = state is State.WORKING and reached == State.QUEUED
        steps = (State.LOADING, state) if skips else (state,)
        moved = [self.outbox.move(claim.job.id, each, at, token=claim.token) for each in steps]
        return [job for job in moved if job is not None]

    def complete(
        self, claim: Claim, artifact: Artifact, stats: dict[str, Any], at: Moment, spent: Spent | None = None
    ) -> Cause | None:
        """Commit what the run produced and give the slot back; the job stays ``working`` until it is stored.

        ``spent`` is what the run took, for later estimates; ``None`` if it says nothing about others. If somebody
        wanted the job ended before, that cause is returned and nothing written: ``fail`` it.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            cause = self._ended(claim)
            if cause is None:
                _update(claim, lease_until=None, stats=to_text(stats))
                keep(artifact, at)
                _remember(claim, spent)
            return cause

    def finish(
        self, claim: Claim, artifact: Artifact, stats: dict[str, Any], at: Moment, spent: Spent | None = None
    ) -> Job | Cause | None:
        """As ``complete``, for an artifact that stays in its row: it is stored by that, and the job is ``done``.

        Returns the job, or the cause for which somebody wanted it ended before.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """

        def do() -> Job | Cause | None:
            cause = self._ended(claim)
            if cause is not None:
                return cause
            columns = {"stats": to_text(stats)}
            job = self.outbox.move(claim.job.id, State.DONE, at, token=claim.token, artifacts=(artifact,), **columns)
            keep(artifact, at, stored_at=at)
            _remember(claim, spent)
            return job

        return write_shared(do)

    def retry(self, claim: Claim, ready_at: Moment, *, counted: bool, avoid: bool = False) -> Cause | None:
        """Give the job back, to be claimed from ``ready_at`` on; a run that is not ``counted`` uses up no attempt.

        ``avoid``: another upstream that can run it goes first. Returns a cause as ``complete`` does.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        moved = {"avoided": claim.upstream} if avoid else {}
        with write():
            cause = self._ended(claim)
            if cause is None:
                attempt = claim.job.attempt - (not counted)
                _update(claim, lease_until=None, ready_at=ready_at, attempt=attempt, **moved)
            return cause

    def _ended(self, claim: Claim) -> Cause | None:
        """``wanted``, and nobody can want it between this and the end of the transaction."""
        LOCK.first(job_id=claim.job.id)
        return self.wanted(claim)

    def fail(self, claim: Claim, failure: JobFailure, at: Moment, partial: Artifact | None = None) -> Job | None:
        """End the job as failed, keeping what it had as ``partial``; if somebody wanted it ended, that is its cause.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            cause = self._ended(claim)
            failure = failure if cause is None else ended_on_request(cause)
            job = self.outbox.move(claim.job.id, State.FAILED, at, token=claim.token, **error_columns(failure))
            if job is not None and partial is not None:
                keep(partial, at, stored_at=at)
            return job

    def expire(self, now: Moment, *, max_losses: int) -> Sequence[Job]:
        """Take back the leases that ran out, and return their jobs: ready again, or failed after ``max_losses``."""
        with write():
            gone = JobRow.select().where(JobRow.lease_until < now).order_by(JobRow.lease_until).limit(EXPIRY_BATCH)
            return [self._expire_one(row, now, max_losses) for row in list(locked(gone, skip=True))]

    def _expire_one(self, row: JobRow, now: Moment, max_losses: int) -> Job:
        failure = None
        if row.cancel_code is not None:
            failure = ended_on_request(Cause(row.cancel_code))
        elif row.losses >= max_losses:
            failure = JobFailure(Cause.WORKER_LOST, f"the worker running this job died {row.losses + 1} times")
        moved = self.outbox.move(row.id, State.FAILED, now, **error_columns(failure)) if failure else None
        if moved is not None:
            return moved
        changes = {
            "lease_until": None,
            "lease_token": JobRow.lease_token + 1,
            "ready_at": now,
            "losses": JobRow.losses + 1,
            "version": JobRow.version + 1,
        }
        [row] = JobRow.update(changes).where(JobRow.id == row.id).returning(JobRow).execute()
        return job_from_row(row)

    def ready(self, now: Moment, limit: int) -> Sequence[str]:
        """At most ``limit`` jobs that could be claimed, the best first: whom to send a permit for."""
        found: list[str] = []
        with read():
            for priority in Priority:
                left = limit - len(found)
                rows = _READY.rows(priority=int(priority), now=now, limit=left) if left else ()
                found.extend(row.id for row in rows)
        return found

    def hold(self, upstream: str, until: Moment, why: Cause = Cause.UPSTREAM_UNREACHABLE) -> None:
        """Leave an upstream alone until then, or longer: it refused, and every job would only be refused as well."""
        with write():
            for each in lock([slots for slots in self.upstreams if slots.upstream == upstream]):
                held_until = max(until, each.held_until)
                changes = {"failures": each.failures + 1, "held_until": held_until, "held_for": why}
                UpstreamRow.update(changes).where(UpstreamRow.name == upstream).execute()

    def release(self, upstream: str) -> None:
        """An upstream answered again."""
        with write():
            release(upstream)

    def next_try(self, claim: Claim, now: Moment) -> Moment:
        """When the claim's job can be tried next, going by which upstreams are held: ``now`` if one of them is not."""
        with read():
            return next_try(Upstreams(self.upstreams).standings(), claim.job.model, now) or now

    def unplaceable(self, now: Moment) -> Sequence[Job]:
        """Fail the jobs that wait for a model which no upstream may be asked for, and return them."""
        if not all(each.models for each in self.upstreams):
            return []
        all_servers = servers([Standing(each) for each in self.upstreams], now)
        with read():
            strange = [model for model in heads.waiting_models() if not homes(all_servers, model)]
        return [job for model in strange for job in self._fail_waiting(model, now)]

    def _fail_waiting(self, model: str, now: Moment) -> Sequence[Job]:
        failure = JobFailure(Cause.MODEL_NOT_FOUND, f'No upstream may be asked for the model "{presentable(model)}".')
        with write():
            waiting = (JobRow.model == model) & JobRow.ready_at.is_null(is_null=False)
            rows = list(locked(JobRow.select(JobRow.id).where(waiting).limit(FAILING_BATCH), skip=True))
            moved = [self.outbox.move(row.id, State.FAILED, now, **error_columns(failure)) for row in rows]
            return [job for job in moved if job is not None]


def ended_on_request(cause: Cause) -> JobFailure:
    """The failure of a job that somebody wanted ended."""
    who = "the client hung up" if cause is Cause.CLIENT_DISCONNECTED else "the job was cancelled"
    return JobFailure(cause, who)


def _update(claim: Claim, **columns: Any) -> None:  # noqa: ANN401  (columns of any type)
    statement = _update_of(tuple(sorted(columns)))
    if not statement.execute(job_id=claim.job.id, token=claim.token, **columns):
        raise StaleLease(claim.job.id)


def _remember(claim: Claim, spent: Spent | None) -> None:
    """The last statement of its transaction, since from here on every other completion of this model waits for it."""
    if spent is not None:
        timings.record(claim.upstream, claim.job.model, spent)


def _held(given: Any) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    leased = JobRow.lease_until.is_null(is_null=False)
    return (JobRow.id == given.job_id) & (JobRow.lease_token == given.token) & leased


@cache
def _update_of(columns: tuple[str, ...]) -> Statement:
    def build(given: Any) -> Any:  # noqa: ANN401  (as above)
        changes = {each: getattr(given, each) for each in columns} | {"version": JobRow.version + 1}
        return JobRow.update(changes).where(_held(given))

    return Statement(build)


_REACHED = Statement(lambda given: locked(JobRow.select(JobRow.state).where(_held(given))))

_CANCEL_CODE = Statement(lambda given: JobRow.select(JobRow.cancel_code).where(JobRow.id == given.job_id))

_READY = Statement(
    lambda given: (
        JobRow.select(JobRow.id)
        .where((JobRow.priority == given.priority) & (JobRow.ready_at <= given.now))
        .order_by(JobRow.ready_at, JobRow.id)
        .limit(given.limit)
    )
)

_TAKE = Statement(
    lambda given: (
        JobRow.update(
            ready_at=None,
            lease_until=given.lease_until,
            claimed_at=given.claimed_at,
            lease_token=JobRow.lease_token + 1,
            upstream=given.upstream,
            attempt=JobRow.attempt + 1,
            version=JobRow.version + 1,
        )
        .where((JobRow.id == given.job_id) & JobRow.ready_at.is_null(is_null=False))
        .returning(JobRow)
    )
)

_GO_ON = Statement(
    lambda given: UpstreamRow.update(model=given.model, streak=given.streak).where(UpstreamRow.name == given.name)
)

# What a load pushes out of the upstream's memory is not known, so what it had besides is forgotten.
_LOAD = Statement(
    lambda given: UpstreamRow.update(model=given.model, streak=1, loaded=None).where(UpstreamRow.name == given.name)
)
