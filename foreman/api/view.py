"""Gathers what ``GET /jobs/{id}`` shows from the tables and the artifact store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreman import clock, logs
from foreman.api.representation import Document, document
from foreman.domain.job import Artifact, Job
from foreman.domain.lifecycle import TERMINAL
from foreman.errors import ArtifactStoreUnavailable
from foreman.store.artifacts import Artifacts
from foreman.store.events import Events
from foreman.store.jobs import Jobs
from foreman.store.line import Line
from foreman.store.objects import Objects

log = logs.get_logger(__name__)

#: The artifact that is a job's native response object; contract section 4.
COMPLETION = "completion"

#: The artifact that is what text there was of a run that failed.
PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its submitter sees it. Completions of at most ``inline_limit_b`` bytes are part of it."""

    jobs: Jobs
    line: Line
    events: Events
    artifacts: Artifacts
    objects: Objects
    public_url: str
    inline_limit_b: int

    def show(self, job_id: str) -> Document:
        """The job as JSON.

        The job is read before what belongs to it: what is read later can be ahead of it, never behind.

        Raises:
            JobNotFound, JobGone: it is not there.
            StoreUnavailable: it cannot be read now.
        """
        job = self.jobs.get(job_id)
        artifacts = self.artifacts.of(job_id) if job.state in TERMINAL else ()
        return document(
            job,
            outlook=self.line.outlook(job, clock.now()),
            completion=self.inline(job, artifacts, COMPLETION),
            artifacts=artifacts,
            events=self.events.of(job_id) if job.webhook is not None else (),
            public_url=self.public_url,
        )

    def inline(self, job: Job, artifacts: Sequence[Artifact], name: str) -> bytes | None:
        """The artifact called ``name``; ``None``: there is none, it is too large, or it cannot be read now."""
        found = next((each for each in artifacts if each.name == name), None)
        if found is None or found.size_b > self.inline_limit_b:
            return None
        if found.data is not None or found.location is None:
            return found.data
        try:
            return b"".join(self.objects.read(found.location, 0, found.size_b))
        except (FileNotFoundError, ArtifactStoreUnavailable) as error:
            # The state of the job is worth more than no answer; its artifact's URL tells what is wrong with the bytes.
            log.warning("artifact not read", job_id=job.id, artifact=name, reason=type(error).__name__)
            return None
