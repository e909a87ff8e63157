"""API keys, whose jobs are whose, and how many a key may have, on both engines."""

from __future__ import annotations

import dataclasses

import pytest

from foreman.domain.api_key import ANYBODY, Allowance, ApiKey, Caller
from foreman.domain.job import Priority
from foreman.errors import IdempotencyConflict, TooManyQueued, TooManySubmissions
from foreman.store import database
from foreman.store.jobs import Filter
from foreman.store.keys import Keys
from foreman.store.models import JobRow
from foreman.store.pruning import Pruning
from foreman.store.quota import owned
from tests.meeting import meeting
from tests.stores import BOOM, T0, Engine, Stores, new_id, quiet, together

KEY = ApiKey("K" * 26, "laptop", "d" * 64, admin=True, allowance=Allowance(5, Priority.BATCH, 7), created_at=T0)


def _key(allowance: Allowance | None = None) -> Caller:
    """A new key's holder."""
    key = ApiKey(new_id(), "a key", "d" * 64, admin=False, allowance=allowance or Allowance(), created_at=T0)
    Keys().add(key)
    return Caller(key.id, sees_all=False, allowance=key.allowance)


def _submit(stores: Stores, caller: Caller, *, at: int = T0, key: str | None = None, content: str = "hello") -> str:
    asked = quiet(content=content)
    return stores.jobs.submit(asked, job_id=new_id(), key=key, now=at, caller=caller).job.id


def _listed(stores: Stores, owner: str | None) -> list[str]:
    return [job.id for job in stores.jobs.page(Filter(owner=owner))][::-1]


def test_a_key_comes_back_as_it_was_kept(engine: Engine) -> None:
    """Name, digest, kind and every limit, or that there is none."""
    unlimited = dataclasses.replace(KEY, id="L" * 26, admin=False, allowance=Allowance(), created_at=T0 + 1)
    Keys().add(KEY)
    Keys().add(unlimited)
    assert Keys().find(KEY.id) == KEY
    assert Keys().find(unlimited.id) == unlimited
    assert Keys().find("M" * 26) is None
    assert Keys().all() == [KEY, unlimited]


def test_a_revoked_key_stays_in_the_list_with_its_first_moment(engine: Engine) -> None:
    """Revoking again changes nothing, and one that never was is told apart."""
    assert not Keys().any_good()
    Keys().add(KEY)
    assert Keys().any_good()
    revoked = dataclasses.replace(KEY, revoked_at=T0 + 5)
    assert Keys().revoke(KEY.id, T0 + 5) == revoked
    assert Keys().revoke(KEY.id, T0 + 9) == revoked
    assert Keys().revoke("M" * 26, T0) is None
    found = Keys().find(KEY.id)
    assert found is not None
    assert found.revoked_at == T0 + 5
    assert not Keys().any_good()


def test_each_key_lists_its_own_jobs(stores: Stores) -> None:
    """And nobody else's; who sees all sees those of every key and of none."""
    one, two = _key(), _key()
    mine, theirs, nobodys = _submit(stores, one), _submit(stores, two), _submit(stores, ANYBODY)
    also_mine = _submit(stores, one)
    assert _listed(stores, one.owner) == [mine, also_mine]
    assert _listed(stores, two.owner) == [theirs]
    assert _listed(stores, None) == [mine, theirs, nobodys, also_mine]


def test_whose_a_job_is_outlives_the_job(stores: Stores) -> None:
    """Of a pruned id too it is known, so that it is gone to its owner and never was to all others."""
    one = _key()
    job_id, nobodys = _submit(stores, one), _submit(stores, ANYBODY)
    assert (stores.jobs.owner(job_id), stores.jobs.owner(nobodys)) == (one.owner, "")
    claim = stores.claim()
    while claim.job.id != job_id:
        claim = stores.claim()
    stores.claims.fail(claim, BOOM, T0)
    assert Pruning().remove([job_id], T0) == 1
    assert stores.jobs.owner(job_id) == one.owner
    assert stores.jobs.owner("01ARZ3NDEKTSV4RRFFQ69G5FAV") is None


def test_an_idempotency_key_is_its_owners_alone(stores: Stores) -> None:
    """Two keys, and nobody, may use the same words for different jobs; each finds its own again."""
    one, two = _key(), _key()
    first = _submit(stores, one, key="order-1")
    assert _submit(stores, two, key="order-1", content="other") != first
    assert _submit(stores, ANYBODY, key="order-1", content="another") != first
    assert _submit(stores, one, key="order-1") == first
    with pytest.raises(IdempotencyConflict):
        _submit(stores, one, key="order-1", content="other")


def test_a_key_has_no_more_queued_jobs_than_it_allows(stores: Stores) -> None:
    """One that left the queue makes room; other keys and an earlier job's idempotency key are not touched."""
    one, two = _key(Allowance(max_queued=2)), _key(Allowance(max_queued=2))
    first = _submit(stores, one, key="a")
    _submit(stores, one)
    with pytest.raises(TooManyQueued) as refused:
        _submit(stores, one)
    assert refused.value.limit == 2
    assert refused.value.retry_after_s > 0
    assert _submit(stores, one, key="a") == first
    _submit(stores, two)
    stores.claims.fail(stores.claim(), BOOM, T0)
    _submit(stores, one)


#: Milliseconds after the first of three jobs in a minute, and after how many seconds another is welcome; None: at once.
MINUTE = [(0, 60), (1, 60), (1000, 59), (58_001, 2), (59_999, 1), (60_000, None), (60_001, None)]


@pytest.mark.parametrize(("after_ms", "retry_after_s"), MINUTE)
def test_a_key_submits_no_more_in_any_minute_than_it_allows(
    stores: Stores, after_ms: int, retry_after_s: int | None
) -> None:
    """The third-newest job has to be a minute old; until then it is told how many seconds are left, rounded up."""
    one, two = _key(Allowance(per_minute=3)), _key(Allowance(per_minute=3))
    _submit(stores, one, at=T0 - 60_000)
    for _ in range(3):
        _submit(stores, one)
    if retry_after_s is None:
        _submit(stores, one, at=T0 + after_ms)
        return
    with pytest.raises(TooManySubmissions) as refused:
        _submit(stores, one, at=T0 + after_ms)
    assert (refused.value.limit, refused.value.retry_after_s) == (3, retry_after_s)
    _submit(stores, two, at=T0 + after_ms)


@pytest.mark.parametrize("allowance", [Allowance(max_queued=5), Allowance(per_minute=5)], ids=["queued", "minute"])
def test_a_limit_holds_when_many_submit_at_once(stores: Stores, allowance: Allowance) -> None:
    """Of sixteen at one moment exactly as many are accepted as the key allows."""
    one = _key(allowance)

    def attempt(_: int) -> bool:
        try:
            _submit(stores, one)
        except (TooManyQueued, TooManySubmissions):
            return False
        return True

    with meeting(16):
        accepted = together(16, attempt)
    assert sum(accepted) == 5
    assert len(_listed(stores, one.owner)) == 5


def test_what_is_refused_leaves_nothing(engine: Engine, stores: Stores) -> None:
    """No row of any table is written for it."""
    one = _key(Allowance(per_minute=1))
    _submit(stores, one)
    tables = ("jobs", "payloads", "labels", "events")
    before = engine.all_rows(*tables)
    with pytest.raises(TooManySubmissions):
        _submit(stores, one, key="k")
    assert engine.all_rows(*tables) == before


def test_jobs_of_a_key_are_found_by_an_index(engine: Engine, stores: Stores) -> None:
    """The partial index over jobs that have an owner: without keys it is empty."""
    one = _key()
    for query, index in (
        (JobRow.select().where(owned(one.owner)).order_by(JobRow.id.desc()).limit(5), "jobs_owner"),
        (JobRow.select(JobRow.id).where(owned(one.owner)).order_by(JobRow.id.desc()).offset(9).limit(1), "jobs_owner"),
    ):
        assert index in _plan(engine, query)


def _plan(engine: Engine, query: object) -> str:
    sql, arguments = query.sql()  # type: ignore[attr-defined]  # peewee's queries are untyped
    with database.write():
        if engine.kind == "postgresql":
            # The table of a test is so small that reading all of it would be the better plan.
            engine.database.execute_sql("SET LOCAL enable_seqscan = off")
            engine.database.execute_sql("SET LOCAL enable_sort = off")
            engine.database.execute_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        head = "EXPLAIN QUERY PLAN " if engine.kind == "sqlite" else "EXPLAIN "
        return "\n".join(str(row) for row in engine.database.execute_sql(head + sql, arguments).fetchall())
