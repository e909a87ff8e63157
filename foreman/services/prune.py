"""Takes jobs away when their time is over, in small batches, with the bytes their artifacts have elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain.lifecycle import TERMINAL
from foreman.domain.metric import PRUNED
from foreman.errors import ArtifactStoreUnavailable, JobNotTerminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.store.jobs import Jobs
    from foreman.store.objects import Objects
    from foreman.store.pruning import Pruning
    from foreman.tally import Tally

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went: jobs, bytes in the artifact store (as objects), and ids that will be unknown from now on."""

    jobs: int
    objects: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class Pruner:
    """What the periodic actor ``prune`` and ``DELETE /jobs/{id}`` do."""

    pruning: Pruning
    jobs: Jobs
    objects: Objects
    batch: int
    tombstone_ttl_ms: int
    tally: Tally

    def prune(self) -> Pruned:
        """Remove every job that is over, and what is kept of those long gone. Each batch is committed by itself.

        Raises:
            ArtifactStoreUnavailable: jobs with bytes there may be left; of all others none is.
        """
        jobs = objects = 0
        refused: ArtifactStoreUnavailable | None = None
        while job_ids := self.pruning.expired(clock.now(), self.batch, elsewhere=refused is None):
            began = clock.monotonic()
            try:
                gone, deleted = self._remove(job_ids, announcing=False)
            except ArtifactStoreUnavailable as error:
                if refused is not None:
                    raise
                refused = error
                continue
            # As long as it took: whoever waited to write goes first, and pruning takes half of the time at most.
            time.sleep(clock.monotonic() - began)
            jobs += gone
            objects += deleted
            if not gone:
                break
        forgotten = self._forget()
        self.tally.count(PRUNED, "jobs", by=jobs)
        self.tally.count(PRUNED, "tombstones", by=forgotten)
        if jobs:
            log.info("pruned", jobs=jobs)
        if refused is not None:
            raise refused
        return Pruned(jobs, objects, forgotten)

    def _forget(self) -> int:
        forgotten = 0
        while True:
            gone = self.pruning.forget(clock.now() - self.tombstone_ttl_ms, self.batch)
            forgotten += gone
            if gone < self.batch:
                return forgotten

    def delete(self, job_id: str) -> None:
        """Remove one terminal job now.

        Raises:
            JobNotFound, JobGone: it is not there.
            JobNotTerminal: it is live.
        """
        if self.jobs.get(job_id).state not in TERMINAL:
            raise JobNotTerminal(job_id)
        self._remove([job_id], announcing=True)

    def _remove(self, job_ids: Sequence[str], *, announcing: bool) -> tuple[int, int]:
        """How many jobs went, and how many objects."""
        # The bytes go first: after a crash in between, the job is still there and is pruned again.
        locations = self.pruning.locations(job_ids)
        self.objects.delete(locations)
        return self.pruning.remove(job_ids, clock.now(), announcing=announcing), len(locations)
