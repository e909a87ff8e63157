"""Who may run which job: leases with a fencing token, slots counted in the database, attempts and their end.

Slots in use are the jobs with a lease, so a slot whose worker died is free again when its lease is expired, and never
before. Every write of a run carries the claim's token; once the lease has gone to somebody else it raises StaleLease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from peewee import fn

from foreman.domain.job import Artifact, Claim, Job, JobFailure, Moment, NoClaim, Priority
from foreman.domain.lifecycle import Cause, State
from foreman.domain.schedule import Choice, Policy, Server, choose
from foreman.errors import StaleLease
from foreman.store import heads
from foreman.store.artifacts import keep
from foreman.store.database import locked, read, write
from foreman.store.models import JobRow, PayloadRow, UpstreamRow
from foreman.store.outbox import Outbox
from foreman.store.prepared import Statement
from foreman.store.rows import error_columns, job_from_row, to_text

#: Leases looked at by one call of ``expire``: a whole fleet's worth, and still a short transaction.
EXPIRY_BATCH = 200


@dataclass(frozen=True, slots=True)
class Slots:
    """An upstream as the claims know it: how many requests at once, for which models (names or patterns; none: any)."""

    upstream: str
    count: int
    models: tuple[str, ...] = ()


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
        with write():
            rows = self._lock_upstreams()
            servers = self._free(rows, now)
            while servers and (choice := choose(servers, heads.candidates(servers, now), self.policy, now)):
                claim = self._take(choice, rows[choice.server.name].failures, now)
                if claim is not None:
                    return claim
            return NoClaim()

    def _lock_upstreams(self) -> dict[str, UpstreamRow]:
        """The rows of our upstreams, made if need be; on PostgreSQL this is what lets one claim in at a time."""
        names = sorted(each.upstream for each in self.upstreams)
        rows = _lock(names)
        if len(rows) < len(names):
            UpstreamRow.insert_many([{"name": name} for name in names]).on_conflict_ignore().execute()
            rows = _lock(names)
        return rows

    def _free(self, rows: dict[str, UpstreamRow], now: Moment) -> list[Server]:
        """The upstreams that are well and have a slot left."""
        used = self.used()
        return [
            Server(each.upstream, each.models, rows[each.upstream].model, rows[each.upstream].streak)
            for each in self.upstreams
            if rows[each.upstream].held_until <= now and used.get(each.upstream, 0) < each.count
        ]

    def used(self) -> dict[str, int]:
        """Slots in use by upstream; those with none are left out."""
        leased = JobRow.select(JobRow.upstream, fn.COUNT(JobRow.id)).where(JobRow.lease_until.is_null(is_null=False))
        counted: Any = leased.group_by(JobRow.upstream).tuples()
        with read():
            return {str(name): int(count) for name, count in counted}

    def _take(self, choice: Choice, failures: int, now: Moment) -> Claim | None:
        """Lease the chosen job; None if it was ended since it was looked at, which only happens on PostgreSQL."""
        job, server = choice.job, choice.server
        changes = {
            "ready_at": None,
            "lease_until": now + self.lease_ms,
            "lease_token": JobRow.lease_token + 1,
            "upstream": server.name,
            "attempt": JobRow.attempt + 1,
            "version": JobRow.version + 1,
        }
        ready = (JobRow.id == job.job_id) & JobRow.ready_at.is_null(is_null=False)
        rows = list(JobRow.update(changes).where(ready).returning(JobRow).execute())
        if not rows:
            return None
        row = rows[0]
        streak = server.streak + 1 if server.model == job.model else 1
        UpstreamRow.update(model=job.model, streak=streak).where(UpstreamRow.name == server.name).execute()
        payload = PayloadRow.get_by_id(row.id)
        return Claim(
            job=job_from_row(row),
            payload=bytes(payload.body),
            token=row.lease_token,
            upstream=server.name,
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

    def begin(self, claim: Claim, state: State, at: Moment) -> Job | None:
        """The run has come to ``state``; returns the job if that is new, None if an earlier run came as far.

        Raises:
            StaleLease: the claim is void.
        """
        with write():
            reached = _REACHED.scalar(job_id=claim.job.id, token=claim.token)
            if reached is None:
                raise StaleLease(claim.job.id)
            if State(reached).rank >= state.rank:
                return None
            if state is State.WORKING and reached == State.QUEUED:
                # There was nothing to load, so nothing was sent that could have begun it; it is announced all the same.
                self.outbox.move(claim.job.id, State.LOADING, at, token=claim.token)
            return self.outbox.move(claim.job.id, state, at, token=claim.token)

    def complete(self, claim: Claim, artifact: Artifact, stats: dict[str, Any], at: Moment) -> Cause | None:
        """Commit what the run produced and give the slot back; the job stays ``working`` until it is stored.

        If somebody wanted the job ended before, that cause is returned and nothing written: ``fail`` it.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            cause = self._ended(claim)
            if cause is None:
                _update(claim, lease_until=None, stats=to_text(stats))
                keep(artifact, at)
            return cause

    def retry(self, claim: Claim, ready_at: Moment, *, counted: bool) -> Cause | None:
        """Give the job back, to be claimed from ``ready_at`` on; a run that is not ``counted`` uses up no attempt.

        Returns a cause as ``complete`` does.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            cause = self._ended(claim)
            if cause is None:
                _update(claim, lease_until=None, ready_at=ready_at, attempt=claim.job.attempt - (not counted))
            return cause

    def _ended(self, claim: Claim) -> Cause | None:
        """``wanted``, and nobody can want it between this and the end of the transaction."""
        _LOCK.first(job_id=claim.job.id)
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
                waiting = JobRow.select(JobRow.id).where((JobRow.priority == priority) & (JobRow.ready_at <= now))
                oldest = waiting.order_by(JobRow.ready_at, JobRow.id)
                rows = oldest.limit(limit - len(found)) if len(found) < limit else ()
                found.extend(row.id for row in rows)
        return found

    def hold(self, upstream: str, until: Moment) -> None:
        """Leave an upstream alone until then: it refused, and every job would only be refused as well."""
        with write():
            changes = {"failures": UpstreamRow.failures + 1, "held_until": until}
            UpstreamRow.update(changes).where(UpstreamRow.name == upstream).execute()

    def release(self, upstream: str) -> None:
        """An upstream answered again."""
        with write():
            UpstreamRow.update(failures=0, held_until=0).where(UpstreamRow.name == upstream).execute()


def _lock(names: Sequence[str]) -> dict[str, UpstreamRow]:
    query = UpstreamRow.select().where(UpstreamRow.name.in_(names)).order_by(UpstreamRow.name)
    return {row.name: row for row in locked(query)}


def ended_on_request(cause: Cause) -> JobFailure:
    """The failure of a job that somebody wanted ended."""
    who = "the client hung up" if cause is Cause.CLIENT_DISCONNECTED else "the job was cancelled"
    return JobFailure(cause, who)


def _update(claim: Claim, **columns: Any) -> None:  # noqa: ANN401  (columns of any type)
    statement = _update_of(tuple(sorted(columns)))
    if not statement.execute(job_id=claim.job.id, token=claim.token, **columns):
        raise StaleLease(claim.job.id)


def _held(given: Any) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    leased = JobRow.lease_until.is_null(is_null=False)
    return (JobRow.id == given.job_id) & (JobRow.lease_token == given.token) & leased


@cache
def _update_of(columns: tuple[str, ...]) -> Statement:
    def build(given: Any) -> Any:  # noqa: ANN401  (as above)
        changes = {each: getattr(given, each) for each in columns} | {"version": JobRow.version + 1}
        return JobRow.update(changes).where(_held(given))

    return Statement(build)


_LOCK = Statement(lambda given: locked(JobRow.select(JobRow.id).where(JobRow.id == given.job_id)))

_REACHED = Statement(lambda given: locked(JobRow.select(JobRow.state).where(_held(given))))

_CANCEL_CODE = Statement(lambda given: JobRow.select(JobRow.cancel_code).where(JobRow.id == given.job_id))
