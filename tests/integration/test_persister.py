from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from foreman.domain.job import Artifact, Job, Moment
from foreman.domain.lifecycle import Cause, State
from foreman.errors import StoreUnavailable
from foreman.queue.announcer import Announcer
from foreman.services.persist import Persister
from foreman.store.artifacts import Artifacts
from foreman.tally import Tally
from foreman.traces import Tracer
from tests.integration.api import INLINE_LIMIT_B, Api, Unwatched, running_api
from tests.stores import T0, completion

LARGE = b'{"message":{"content":"%b"}}' % (b"x" * INLINE_LIMIT_B)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A database and an artifact store; no worker runs."""
    with running_api(tmp_path) as api:
        yield api


@dataclass(frozen=True, slots=True)
class Away(Artifacts):
    """A database that goes away just after the bytes were put into the artifact store."""

    def stored(self, artifact: Artifact, location: str | None, at: Moment) -> Job | None:
        """Fail."""
        raise StoreUnavailable("gone")


def persister(api: Api, artifacts: Artifacts) -> Persister:
    """One that stores for the jobs of ``api``."""
    announcer = Announcer(api.messenger, Unwatched(), Tally())
    return Persister(artifacts, api.parts.objects, announcer, INLINE_LIMIT_B, Tracer())


def objects(api: Api, location: str) -> int:
    """How many objects lie there: one or none."""
    try:
        return len(list(api.parts.objects.read(location, 0, 1)))
    except FileNotFoundError:
        return 0


def ran(api: Api) -> str:
    """A job whose large completion waits to be stored."""
    api.submit()
    claim = api.start()
    api.claims.complete(claim, completion(claim.job.id, LARGE), {}, T0)
    return claim.job.id


def test_a_job_that_is_cancelled_after_its_bytes_were_put_leaves_none(api: Api) -> None:
    """The call that put them failed, and the next one finds nothing to store: they are deleted, not forgotten."""
    job_id = ran(api)
    location = f"{job_id[-2:]}/{job_id}/completion"
    with pytest.raises(StoreUnavailable):
        persister(api, Away(api.parts.artifacts.outbox)).persist(job_id)
    assert objects(api, location) == 1
    api.parts.canceller.cancel(job_id, Cause.CANCELLED)
    persister(api, api.parts.artifacts).persist(job_id)
    assert objects(api, location) == 0


def test_a_second_message_takes_nothing_of_a_job_that_is_done(api: Api) -> None:
    """The sweep may send one while the first is being handled."""
    job_id = ran(api)
    for _ in range(2):
        persister(api, api.parts.artifacts).persist(job_id)
    [kept] = api.parts.artifacts.of(job_id)
    assert api.parts.jobs.state(job_id) is State.DONE
    assert kept.location is not None
    assert b"".join(api.parts.objects.read(kept.location, 0, kept.size_b)) == LARGE
