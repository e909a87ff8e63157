"""Who may run which job: leases with a fencing token, slots counted in the database, attempts and their end.

Slots in use are the jobs with a lease, so a slot whose worker died is free again when its lease is expired, and never
before. Every write of a run carries the claim's token; once the lease has gone to somebody else it raises StaleLease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foreman.domain.job import Claim, Job, JobFailure, Moment, NoClaim, Priority
from foreman.domain.lifecycle import Cause, State
from foreman.domain.schedule import Candidate, choose
from foreman.errors import StaleLease
from foreman.store.database import locked, read, write
from foreman.store.models import ArtifactRow, JobRow, PayloadRow, UpstreamRow
from foreman.store.rows import job_from_row, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Artifact
    from foreman.store.outbox import Outbox

#: Leases looked at by one call of ``expire``: a whole fleet's worth, and still a short transaction.
EXPIRY_BATCH = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """The jobs table, for whoever runs them. ``lease_ms`` is how long a claim holds unless it is renewed."""

    outbox: Outbox
    upstream: str
    slots: int
    lease_ms: int

    def claim(self, now: Moment) -> Claim | NoClaim:
        """Take the best ready job if a slot is free: at most ``slots`` leases exist, however many workers ask at once.

        Raises:
            StoreUnavailable: nothing was taken.
        """
        if not self.ready(now, 1):
            return NoClaim()
        with write():
            upstream = self._lock_upstream()
            if upstream.held_until > now:
                return NoClaim(upstream.held_until)
            if self._leases() >= self.slots:
                return NoClaim()
            chosen = choose(self._candidates(now))
            if chosen is None:
                return NoClaim()
            return self._take(chosen, upstream.failures, now)

    def _lock_upstream(self) -> UpstreamRow:
        row = locked(UpstreamRow.select().where(UpstreamRow.name == self.upstream)).first()
        if row is None:
            UpstreamRow.insert(name=self.upstream).on_conflict_ignore().execute()
            row = locked(UpstreamRow.select().where(UpstreamRow.name == self.upstream)).get()
        return row  # type: ignore[no-any-return]  # reason: ``locked`` is untyped, as peewee's queries are

    def _leases(self) -> int:
        return int(JobRow.select(JobRow.id).where(JobRow.lease_until.is_null(False)).count())

    def _candidates(self, now: Moment) -> list[Candidate]:
        """The first ready job of each priority: one index look-up each, however long the queue."""
        found = []
        for priority in Priority:
            head = JobRow.select(JobRow.id, JobRow.priority, JobRow.ready_at).where(
                (JobRow.priority == priority) & (JobRow.ready_at <= now)
            )
            row = locked(head.order_by(JobRow.ready_at).limit(1), skip=True).first()
            if row is not None:
                found.append(Candidate(row.id, Priority(row.priority), row.ready_at))
        return found

    def _take(self, chosen: Candidate, failures: int, now: Moment) -> Claim:
        changes = {
            "ready_at": None,
            "lease_until": now + self.lease_ms,
            "lease_token": JobRow.lease_token + 1,
            "attempt": JobRow.attempt + 1,
            "version": JobRow.version + 1,
        }
        [row] = JobRow.update(changes).where(JobRow.id == chosen.job_id).returning(JobRow).execute()
        payload = PayloadRow.get_by_id(row.id)
        return Claim(job_from_row(row), bytes(payload.body), row.lease_token, row.losses, row.waits, failures)

    def renew(self, job_id: str, token: int, now: Moment) -> None:
        """Hold the claim for another ``lease_ms``.

        Raises:
            StaleLease: it is somebody else's now; stop the run.
        """
        with write():
            self._update(job_id, token, lease_until=now + self.lease_ms)

    def begin(self, claim: Claim, state: State, at: Moment) -> Job | None:
        """The run has come to ``state``; returns the job if that is new, None if an earlier run came as far.

        Raises:
            StaleLease: the claim is void.
        """
        with write():
            row = locked(JobRow.select().where(_held(claim.job.id, claim.token))).first()
            if row is None:
                raise StaleLease(claim.job.id)
            if State(row.state).rank >= state.rank:
                return None
            return self.outbox.move(claim.job.id, state, at, token=claim.token)

    def complete(self, claim: Claim, artifact: Artifact, stats: dict[str, Any], at: Moment) -> None:
        """Commit what the run produced and give the slot back; the job stays ``working`` until it is stored.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            self._update(claim.job.id, claim.token, lease_until=None, stats=to_text(stats))
            _keep(artifact, at)

    def retry(self, claim: Claim, ready_at: Moment, *, counted: bool) -> None:
        """Give the job back, to be claimed from ``ready_at`` on; a run that is not ``counted`` uses up no attempt.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        back: dict[str, Any] = {"lease_until": None, "ready_at": ready_at, "waits": JobRow.waits + 1}
        if not counted:
            back["attempt"] = JobRow.attempt - 1
        with write():
            self._update(claim.job.id, claim.token, **back)

    def fail(self, claim: Claim, failure: JobFailure, at: Moment) -> Job | None:
        """End the job as failed.

        Raises:
            StaleLease: the claim is void; nothing was written.
        """
        with write():
            return self.outbox.move(claim.job.id, State.FAILED, at, token=claim.token, **error_columns(failure))

    def expire(self, now: Moment, *, max_losses: int) -> Sequence[Job]:
        """Take back the leases that ran out, and return their jobs: ready again, or failed after ``max_losses``."""
        with write():
            gone = JobRow.select().where(JobRow.lease_until < now).order_by(JobRow.lease_until).limit(EXPIRY_BATCH)
            return [self._expire_one(row, now, max_losses) for row in list(locked(gone, skip=True))]

    def _expire_one(self, row: JobRow, now: Moment, max_losses: int) -> Job:
        if row.losses >= max_losses:
            failure = JobFailure(Cause.WORKER_LOST, f"the worker running this job died {row.losses + 1} times")
            moved = self.outbox.move(row.id, State.FAILED, now, **error_columns(failure))
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
                rows = waiting.order_by(JobRow.ready_at).limit(limit - len(found)) if len(found) < limit else ()
                found.extend(row.id for row in rows)
        return found

    def hold(self, until: Moment) -> None:
        """Leave the upstream alone until then: it refused, and every job would only be refused as well."""
        with write():
            changes = {"failures": UpstreamRow.failures + 1, "held_until": until}
            UpstreamRow.update(changes).where(UpstreamRow.name == self.upstream).execute()

    def release(self) -> None:
        """The upstream answered again."""
        with write():
            changes = {"failures": 0, "held_until": 0}
            UpstreamRow.update(changes).where(UpstreamRow.name == self.upstream).execute()

    def _update(self, job_id: str, token: int, **columns: Any) -> None:
        changes = {**columns, "version": JobRow.version + 1}
        if not JobRow.update(changes).where(_held(job_id, token)).execute():
            raise StaleLease(job_id)


def _held(job_id: str, token: int) -> Any:
    return (JobRow.id == job_id) & (JobRow.lease_token == token) & JobRow.lease_until.is_null(False)


def error_columns(failure: JobFailure) -> dict[str, Any]:
    """A failure as the job row keeps it."""
    return {"error_code": failure.code, "error_message": failure.message, "error_status": failure.upstream_status}


def _keep(artifact: Artifact, at: Moment) -> None:
    ArtifactRow.delete().where((ArtifactRow.job_id == artifact.job_id) & (ArtifactRow.name == artifact.name)).execute()
    ArtifactRow.insert(
        job_id=artifact.job_id,
        name=artifact.name,
        content_type=artifact.content_type,
        size_b=artifact.size_b,
        sha256=artifact.sha256,
        data=artifact.data,
        created_at=at,
    ).execute()
