from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foreman.domain.delivery import Dead
from foreman.domain.lifecycle import State
from foreman.errors import ArtifactStoreUnavailable, JobGone, JobNotFound
from foreman.services.prune import Pruner
from foreman.store import database
from foreman.store.objects import Objects
from foreman.tally import Tally
from tests.stores import BOOM, BUSY, GONE, T0, Engine, Stores, quiet, request, together, wait_until

#: When a job that ended at ``T0`` with the tests' usual ``ttl_s`` is over.
OVER = T0 + 3_600_000

#: Tables that hold anything of a job.
OWNED = ("jobs", "payloads", "labels", "events", "attempts", "artifacts")


def test_a_job_is_over_when_its_time_is(stores: Stores) -> None:
    """At ``expires_at``, and not a millisecond before."""
    job = stores.done(quiet())
    assert list(stores.pruning.expired(OVER - 1, 10)) == []
    assert list(stores.pruning.expired(OVER, 10)) == [job.id]


def test_a_live_job_is_never_over(engine: Engine, stores: Stores) -> None:
    """Whatever its ``ttl_s``, that begins when it ends; not even by name can it be removed."""
    stores = Stores(slots=3)
    running = stores.working(quiet(ttl_s=0)).job
    queued = stores.submit(quiet(ttl_s=0))
    assert list(stores.pruning.expired(T0 + 10**12, 10)) == []
    assert stores.pruning.remove([running.id, queued.id], T0 + 10**12, announcing=True) == 0
    assert engine.count("jobs") == 2


def test_a_job_whose_events_are_not_settled_is_kept(stores: Stores) -> None:
    """However long it has been over: the receiver is still to be told."""
    job_id = stores.done().id
    assert list(stores.pruning.expired(OVER, 10)) == []
    for _ in range(3):
        stores.send(job_id, BUSY, Dead())
    assert list(stores.pruning.expired(OVER, 10)) == []
    assert stores.pruning.remove([job_id], OVER) == 0
    stores.send(job_id, BUSY)
    assert list(stores.pruning.expired(OVER, 10)) == []
    stores.send(job_id, BUSY, Dead(), at=T0 + 1000)
    assert list(stores.pruning.expired(OVER, 10)) == [job_id]


@pytest.mark.parametrize("how", ["delivered", "dead", "stopped", "unwanted"])
def test_settled_events_keep_no_job(stores: Stores, how: str) -> None:
    """Accepted, given up, stopped by the receiver or never wanted: nobody waits for any of them."""
    job_id = stores.done(request(events=frozenset({State.QUEUED}) if how == "unwanted" else None)).id
    if how == "dead":
        for _ in range(4):
            stores.send(job_id, BUSY, Dead())
    elif how == "stopped":
        stores.send(job_id, GONE)
    else:
        stores.deliver_all(job_id)
    assert list(stores.pruning.expired(OVER, 10)) == [job_id]


def test_nothing_of_a_removed_job_remains_but_its_tombstone(engine: Engine, stores: Stores) -> None:
    """Payload, labels, events, attempts and artifacts go with it; other jobs keep theirs."""
    gone = stores.done(request(metadata={"team": "a"})).id
    kept = stores.done(request(metadata={"team": "a"})).id
    for job_id in (gone, kept):
        stores.deliver_all(job_id)
    before = {table: engine.count(table) for table in OWNED}
    assert stores.pruning.remove([gone], OVER) == 1
    assert {table: engine.count(table) * 2 for table in OWNED} == before
    assert stores.jobs.get(kept).id == kept
    assert engine.rows("SELECT job_id, at FROM tombstones") == [(gone, OVER)]
    with pytest.raises(JobGone):
        stores.jobs.get(gone)


def test_an_artifact_store_that_is_away_keeps_only_its_own_jobs(stores: Stores, tmp_path: Path) -> None:
    """However many of them stand in front: what is all in the database goes, and the failure is told."""
    there = [stores.done(quiet(ttl_s=0), location=f"{number}/x/completion").id for number in range(3)]
    here = [stores.done(quiet(ttl_s=0), at=T0 + 1).id for _ in range(3)]
    pruner = Pruner(stores.pruning, stores.jobs, Away(f"file://{tmp_path}"), 2, 10**12, Tally())
    with pytest.raises(ArtifactStoreUnavailable):
        pruner.prune()
    assert [stores.jobs.state(job_id) for job_id in there] == [State.DONE] * 3
    assert [stores.jobs.state(job_id) for job_id in here] == [None] * 3


class Away(Objects):
    """Takes nothing away."""

    def delete(self, locations: Sequence[str]) -> None:
        """Refuse."""
        if locations:
            raise ArtifactStoreUnavailable("PermissionDenied")


def test_a_job_that_somebody_holds_is_deleted_when_they_let_go(engine: Engine, stores: Stores) -> None:
    """``DELETE`` says that it is gone, and its bytes are: a try that is just being recorded changes neither."""
    job_id = stores.done().id
    with ThreadPoolExecutor() as pool:
        with database.write():
            stores.send(job_id)
            removing = pool.submit(stores.pruning.remove, [job_id], T0, announcing=True)
            if engine.kind == "postgresql":
                wait_until(lambda: engine.somebody_waits() or removing.done())
        assert removing.result() == 1
    assert engine.count("jobs") == 0


def test_an_owner_may_delete_a_job_that_is_still_announcing(engine: Engine, stores: Stores) -> None:
    """``DELETE`` does not wait for a receiver that is away; the sender that is at it finds nothing to record."""
    job_id = stores.done().id
    assert stores.pruning.remove([job_id], T0 + 1) == 0
    assert stores.pruning.remove([job_id], T0 + 1, announcing=True) == 1
    assert engine.count("events") == 0


def test_batches_take_the_longest_over_first(stores: Stores) -> None:
    """Each batch is as large as asked for, and nothing is left out between two."""
    late = stores.done(quiet(), at=T0 + 5).id
    early = stores.done(quiet(), at=T0).id
    middle = stores.done(quiet(ttl_s=3600.003), at=T0).id
    assert list(stores.pruning.expired(OVER + 10, 2)) == [early, middle]
    assert stores.pruning.remove([early, middle], OVER + 10) == 2
    assert list(stores.pruning.expired(OVER + 10, 2)) == [late]


def test_two_pruners_remove_each_job_once(engine: Engine, stores: Stores) -> None:
    """Schedulers may overlap: no error, and together they removed what there was."""
    ids = [stores.done(quiet()).id for _ in range(20)]
    assert sum(together(4, lambda _: stores.pruning.remove(ids, OVER))) <= 20
    stores.pruning.remove(ids, OVER)
    assert [engine.count(table) for table in OWNED] == [0] * len(OWNED)
    assert engine.count("tombstones") == 20


def test_removing_what_is_gone_is_no_error(stores: Stores) -> None:
    """A batch that was removed already counts for nothing."""
    job_id = stores.done(quiet()).id
    assert [stores.pruning.remove([job_id], OVER) for _ in range(2)] == [1, 0]


def test_only_bytes_kept_elsewhere_have_a_location(stores: Stores) -> None:
    """What the artifact store is asked to delete; an artifact in its row goes with the row."""
    stores.done(quiet())
    elsewhere = stores.done(quiet(), location="01/there")
    inline = stores.done(quiet())
    assert list(stores.pruning.locations([elsewhere.id, inline.id])) == ["01/there"]


def test_an_id_is_forgotten_when_its_tombstone_is_old(stores: Stores) -> None:
    """410 becomes 404; in batches, the younger ones stay."""
    ids = [stores.done(quiet()).id for _ in range(4)]
    stores.pruning.remove(ids[:3], T0)
    stores.pruning.remove(ids[3:], T0 + 1)
    assert [stores.pruning.forget(T0 + 1, 2) for _ in range(3)] == [2, 1, 0]
    for job_id in ids[:3]:
        with pytest.raises(JobNotFound):
            stores.jobs.get(job_id)
    with pytest.raises(JobGone):
        stores.jobs.get(ids[3])


def test_a_failed_job_is_pruned_as_a_done_one(stores: Stores) -> None:
    """Terminal is terminal."""
    claim = stores.working(quiet())
    stores.claims.fail(claim, BOOM, T0)
    assert list(stores.pruning.expired(OVER, 10)) == [claim.job.id]
