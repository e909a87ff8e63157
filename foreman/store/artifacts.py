"""What a run produced: committed with the end of the run, shown once it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman.domain.lifecycle import State
from foreman.errors import ArtifactNotFound
from foreman.store.database import read, write
from foreman.store.models import ArtifactRow
from foreman.store.prepared import Statement
from foreman.store.rows import artifact_from_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Artifact, Job, Moment
    from foreman.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The artifacts table."""

    outbox: Outbox

    def unstored(self, job_id: str) -> Artifact | None:
        """The completion of a job whose run has ended and which is not ``done`` yet; None if it is done or ended."""
        with read():
            row = _UNSTORED.first(job_id=job_id)
        return None if row is None else artifact_from_row(row)

    def waiting(self, before: Moment, limit: int) -> Sequence[str]:
        """Jobs whose completion has waited to be stored since before a moment, longest first."""
        unstored = ArtifactRow.stored_at.is_null() & (ArtifactRow.created_at < before)
        with read():
            rows = ArtifactRow.select(ArtifactRow.job_id).where(unstored).order_by(ArtifactRow.created_at).limit(limit)
            return [row.job_id for row in rows]

    def stored(self, artifact: Artifact, location: str | None, at: Moment) -> Job | None:
        """The completion is safe, at ``location`` or (None) in its row: make the job ``done``.

        Returns the job, or None if somebody else did it before.
        """
        with write():
            done = self.outbox.move(artifact.job_id, State.DONE, at, artifacts=(artifact,))
            if done is None:
                return None
            kept = _STORED_HERE if location is None else _STORED_ELSEWHERE
            kept.execute(job_id=artifact.job_id, name=artifact.name, at=at, location=location)
            return done

    def keeps(self, location: str) -> bool:
        """Whether an artifact is kept there."""
        job_id = location.split("/")[-2]
        with read():
            kept = ArtifactRow.select().where((ArtifactRow.job_id == job_id) & (ArtifactRow.location == location))
            return bool(kept.exists())

    def of(self, job_id: str) -> Sequence[Artifact]:
        """The job's stored artifacts, with the bytes of those kept in their row."""
        shown = (ArtifactRow.job_id == job_id) & ArtifactRow.stored_at.is_null(is_null=False)
        with read():
            return [artifact_from_row(row) for row in ArtifactRow.select().where(shown).order_by(ArtifactRow.name)]

    def get(self, job_id: str, name: str) -> Artifact:
        """The stored artifact called ``name``.

        Raises:
            ArtifactNotFound: the job has none of that name.
        """
        with read():
            row = ArtifactRow.get_or_none(_key(job_id, name) & ArtifactRow.stored_at.is_null(is_null=False))
        if row is None:
            raise ArtifactNotFound(job_id, name)
        return artifact_from_row(row)


def keep(artifact: Artifact, at: Moment, *, stored_at: Moment | None = None) -> None:
    """Put an artifact into its row, within the caller's transaction, in the place of one of the same name."""
    _FORGET.execute(job_id=artifact.job_id, name=artifact.name)
    _KEEP.execute(
        job_id=artifact.job_id,
        name=artifact.name,
        content_type=artifact.content_type,
        size_b=artifact.size_b,
        sha256=artifact.sha256,
        data=artifact.data,
        created_at=at,
        stored_at=stored_at,
    )


def _key(job_id: object, name: object) -> object:
    return (ArtifactRow.job_id == job_id) & (ArtifactRow.name == name)


_UNSTORED = Statement(
    lambda given: ArtifactRow.select().where((ArtifactRow.job_id == given.job_id) & ArtifactRow.stored_at.is_null())
)

_STORED_HERE = Statement(lambda given: ArtifactRow.update(stored_at=given.at).where(_key(given.job_id, given.name)))

_STORED_ELSEWHERE = Statement(
    lambda given: ArtifactRow.update(stored_at=given.at, location=given.location, data=None).where(
        _key(given.job_id, given.name)
    )
)

_FORGET = Statement(lambda given: ArtifactRow.delete().where(_key(given.job_id, given.name)))

_KEEP = Statement(
    lambda given: ArtifactRow.insert(
        job_id=given.job_id,
        name=given.name,
        content_type=given.content_type,
        size_b=given.size_b,
        sha256=given.sha256,
        data=given.data,
        created_at=given.created_at,
        stored_at=given.stored_at,
    )
)
