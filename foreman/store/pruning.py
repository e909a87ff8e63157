"""Taking jobs away for good: never a live one, never one with an event that is still being tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import Value, fn

from foreman.domain.lifecycle import TERMINAL
from foreman.store.database import locked, read, write
from foreman.store.models import (
    ArtifactRow,
    AttemptRow,
    EventRow,
    JobRow,
    LabelRow,
    PayloadRow,
    TombstoneRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment

#: Tables whose rows go with their job.
OWNED = (PayloadRow, LabelRow, EventRow, AttemptRow, ArtifactRow)

#: The artifact's bytes are in the artifact store.
_KEPT_ELSEWHERE = ArtifactRow.location.is_null(is_null=False)


@dataclass(frozen=True, slots=True)
class Pruning:
    """The end of jobs."""

    def expired(self, now: Moment, limit: int, *, elsewhere: bool = True) -> Sequence[str]:
        """At most ``limit`` jobs whose time is over and whose events are all settled, longest over first.

        Not ``elsewhere``: without those that have bytes in the artifact store.
        """
        over = (JobRow.expires_at <= now) & ~_announcing()
        if not elsewhere:
            # Counted and not asked for with EXISTS, for which PostgreSQL would read all artifacts first.
            theirs = (ArtifactRow.job_id == JobRow.id) & _KEPT_ELSEWHERE
            over &= ArtifactRow.select(fn.COUNT(ArtifactRow.job_id)).where(theirs) == 0
        with read():
            rows = JobRow.select(JobRow.id).where(over)
            return [row.id for row in rows.order_by(JobRow.expires_at).limit(limit)]

    def locations(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Where the artifact store keeps bytes of these jobs."""
        with read():
            kept = ArtifactRow.job_id.in_(job_ids) & _KEPT_ELSEWHERE
            return [str(row.location) for row in ArtifactRow.select(ArtifactRow.location).where(kept)]

    def remove(self, job_ids: Sequence[str], now: Moment, *, announcing: bool = False) -> int:
        """Delete terminal jobs with all that belongs to them, leave tombstones, and return how many.

        A job that has come to life or to a pending event since it was chosen stays, unless ``announcing``.
        """
        with write():
            ended = JobRow.id.in_(job_ids) & JobRow.state.in_(sorted(TERMINAL))
            # Pruning comes back to what others hold now; whoever was asked for one job waits for it.
            rows = locked(JobRow.select(JobRow.id, JobRow.owner).where(ended), skip=not announcing)
            owners = {row.id: row.owner for row in rows}
            if not announcing:
                # Looked up under the locks: whoever redelivers an event holds its job's row, and may just have had it.
                settled = JobRow.select(JobRow.id).where(JobRow.id.in_(list(owners)) & ~_announcing())
                owners = {row.id: owners[row.id] for row in settled}
            if not owners:
                return 0
            going = list(owners)
            for table in OWNED:
                table.delete().where(table.job_id.in_(going)).execute()
            JobRow.delete().where(JobRow.id.in_(going)).execute()
            TombstoneRow.insert_many(
                [{"job_id": job_id, "at": now, "owner": owner} for job_id, owner in owners.items()]
            ).on_conflict_ignore().execute()
            return len(going)

    def forget(self, before: Moment, limit: int) -> int:
        """Delete tombstones older than a moment, at most ``limit``; returns how many."""
        with write():
            old = [row.job_id for row in TombstoneRow.select().where(TombstoneRow.at < before).limit(limit)]
            return int(TombstoneRow.delete().where(TombstoneRow.job_id.in_(old)).execute()) if old else 0


def _announcing() -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    """Whether a job has an event that is not settled."""
    return fn.EXISTS(EventRow.select(Value(1)).where((EventRow.job_id == JobRow.id) & (EventRow.status == "pending")))
