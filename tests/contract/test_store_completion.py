from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from foreman.domain.job import Job
from foreman.domain.lifecycle import State
from foreman.errors import ArtifactNotFound
from tests.stores import BOOM, T0, Engine, Stores, completion, request, together

SMALL = b'{"message":{"content":"hi"},"done":true}'
LARGE = json.dumps({"message": {"content": "x" * 200}, "done": True}).encode()
STATS = {"eval_count": 3, "done_reason": "stop"}


def finished(stores: Stores, data: bytes = SMALL, **asked: Any) -> str:
    """A job whose run has ended and whose completion waits to be stored."""
    claim = stores.working(request(**asked))
    stores.claims.complete(claim, completion(claim.job.id, data), STATS, T0 + 1)
    return claim.job.id


def test_a_completion_is_committed_before_the_job_is_done(stores: Stores) -> None:
    """The run is over and its slot free, and nobody is told of a result that is not safe yet."""
    job_id = finished(stores)
    job = stores.jobs.get(job_id)
    assert (job.state, job.stats, job.expires_at) == (State.WORKING, None, None)
    assert list(stores.artifacts.of(job_id)) == []
    with pytest.raises(ArtifactNotFound):
        stores.artifacts.get(job_id, "completion")
    assert stores.artifacts.unstored(job_id) == completion(job_id, SMALL)
    assert stores.refuses_to_claim(T0 + 10**9), "the model is not run again"


def test_a_completion_that_stays_in_its_row_ends_the_job_at_once(engine: Engine, stores: Stores) -> None:
    """One transaction with the end of the run; all that anybody sees is as if it had been stored later."""
    other = finished(stores)
    stores.artifacts.stored(completion(other, SMALL), None, T0 + 1)
    claim = stores.working(request())
    job = stores.claims.finish(claim, completion(claim.job.id, SMALL), STATS, T0 + 1)
    assert isinstance(job, Job)
    assert stores.jobs.get(job.id) == job
    assert list(stores.artifacts.of(job.id)) == [completion(job.id, SMALL)]
    assert list(stores.artifacts.waiting(T0 + 10**9, 10)) == []
    assert stores.artifacts.unstored(job.id) is None
    assert stores.artifacts.stored(completion(job.id, SMALL), None, T0 + 2) is None, "a late message changes nothing"
    assert replace(stores.jobs.get(other), id=job.id, version=job.version) == job
    one, same = (json.dumps(body) for body in bodies(engine) if body["state"] == "done")
    assert one.replace(other, job.id) == same.replace(other, job.id)


def test_storing_makes_the_job_done_and_announces_it_with_the_artifact(engine: Engine, stores: Stores) -> None:
    """State, stats, artifact and the event that carries it are one transaction."""
    job_id = finished(stores)
    job = stores.artifacts.stored(completion(job_id, SMALL), None, T0 + 2)
    assert job is not None
    assert (job.state, job.stats, job.expires_at) == (State.DONE, STATS, T0 + 2 + 3_600_000)
    assert job.reached[-1] == (State.DONE, T0 + 2)
    assert stores.jobs.get(job_id) == job
    assert list(stores.artifacts.of(job_id)) == [completion(job_id, SMALL)]
    assert stores.artifacts.unstored(job_id) is None
    body = bodies(engine)[-1]
    assert (body["state"], body["sequence"], body["result"]) == ("done", 4, STATS)
    [artifact] = body["artifacts"]
    assert (artifact["inline"], artifact["data"]) == (True, json.loads(SMALL))
    assert artifact["url"] == f"http://foreman.example/jobs/{job_id}/artifacts/completion"


def test_a_large_completion_moves_to_its_location(engine: Engine, stores: Stores) -> None:
    """Its bytes leave the row in the transaction that makes the job done, and the event names only its URL."""
    job_id = finished(stores, LARGE)
    stores.artifacts.stored(completion(job_id, LARGE), "01/there", T0 + 2)
    kept = stores.artifacts.get(job_id, "completion")
    assert (kept.data, kept.location, kept.size_b) == (None, "01/there", len(LARGE))
    [artifact] = bodies(engine)[-1]["artifacts"]
    assert artifact["inline"] is False
    assert "data" not in artifact


def test_a_job_is_made_done_once(stores: Stores) -> None:
    """Messages come twice: eight at once make one ``done`` and one event."""
    job_id = finished(stores)
    got = together(8, lambda _: stores.artifacts.stored(completion(job_id, SMALL), None, T0 + 2))
    assert [job is None for job in got].count(False) == 1
    assert [state for state, _ in stores.statuses(job_id)] == ["queued", "loading", "working", "done"]


def test_a_job_that_ended_otherwise_does_not_become_done(stores: Stores) -> None:
    """``failed`` is as final as ``done``."""
    claim = stores.working()
    stores.claims.fail(claim, BOOM, T0)
    assert stores.artifacts.stored(completion(claim.job.id), None, T0 + 1) is None
    assert stores.jobs.get(claim.job.id).state is State.FAILED


def test_what_waits_to_be_stored_is_found_longest_first(stores: Stores) -> None:
    """The sweep asks who has waited since before a moment."""
    ids = [finished(stores) for _ in range(3)]
    assert list(stores.artifacts.waiting(T0 + 1, 10)) == []
    assert sorted(stores.artifacts.waiting(T0 + 2, 10)) == ids
    assert len(stores.artifacts.waiting(T0 + 2, 2)) == 2
    stores.artifacts.stored(completion(ids[0], SMALL), None, T0 + 2)
    assert sorted(stores.artifacts.waiting(T0 + 2, 10)) == ids[1:]


def test_a_failure_keeps_the_text_it_had(stores: Stores) -> None:
    """``partial`` is there as soon as the job has failed, and is not announced as a result."""
    claim = stores.working()
    partial = replace(completion(claim.job.id), name="partial")
    job = stores.claims.fail(claim, BOOM, T0 + 1, partial)
    assert job is not None
    assert list(stores.artifacts.of(job.id)) == [partial]
    assert stores.artifacts.unstored(job.id) is None


def bodies(engine: Engine) -> list[dict[str, Any]]:
    """The bodies of all events, those of one job in order."""
    return [json.loads(bytes(row[0])) for row in engine.rows("SELECT body FROM events ORDER BY sequence")]
