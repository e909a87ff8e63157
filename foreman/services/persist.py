"""Makes a job ``done``: its completion, committed already, is put where it is kept, and only then announced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.errors import ArtifactStoreUnavailable
from foreman.store.objects import location_of

if TYPE_CHECKING:
    from foreman.queue.announcer import Announcer
    from foreman.store.artifacts import Artifacts
    from foreman.store.objects import Objects
    from foreman.traces import Facts, Tracer

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Persister:
    """What the actor ``persist`` does. Artifacts up to ``inline_limit_b`` bytes stay in their row."""

    artifacts: Artifacts
    objects: Objects
    announcer: Announcer
    inline_limit_b: int
    tracer: Tracer

    def persist(self, job_id: str) -> None:
        """Store the job's completion and end the job; nothing to do if that has happened.

        While the artifact store is away the job stays ``working``, and the sweep calls again. No model is run again.
        """
        began = clock.now()
        artifact = self.artifacts.unstored(job_id)
        if artifact is None or artifact.data is None:
            # It is done; or it was ended after a call that failed had put its bytes there.
            self._forget_unknown(location_of(job_id, "completion"))
            return
        location = None
        if artifact.size_b > self.inline_limit_b:
            try:
                location = self.objects.put(job_id, artifact.name, artifact.data)
            except ArtifactStoreUnavailable as error:
                # Its row has the bytes, and the sweep comes back to it every few seconds, for all such jobs in turn.
                log.warning("artifact store unavailable", job_id=job_id, error=str(error))
                return
        job = self.artifacts.stored(artifact, location, clock.now())
        if job is None:
            # Somebody else stored it, at the same location; or the job was ended meanwhile, and nobody knows of these.
            if location is not None:
                self._forget_unknown(location)
            return
        logs.bind(request_id=job.came_with.request_id)
        log.info("job done", job_id=job_id, size_b=artifact.size_b, attempt=job.attempt)
        self.announcer.announce(job)
        facts: Facts = {"job_id": job_id, "size_b": artifact.size_b, "elsewhere": location is not None}
        self.tracer.past("persist", job.came_with.traceparent, began, facts)

    def _forget_unknown(self, location: str) -> None:
        """Delete bytes that no artifact names: nobody else would, ever."""
        if not self.artifacts.keeps(location):
            self.objects.delete([location])
