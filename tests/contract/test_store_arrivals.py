from __future__ import annotations

from collections.abc import Sequence

import pytest

from foreman.domain.job import Job, JobRequest
from foreman.errors import IdempotencyConflict, QueueFull
from foreman.store.arrivals import Submitted
from foreman.store.database import write
from foreman.store.models import LabelRow
from foreman.store.prepared import Insertion
from tests.meeting import meeting
from tests.stores import T0, Engine, Stores, new_id, quiet, request, together


def test_submissions_that_meet_are_judged_one_by_one(engine: Engine) -> None:
    """They share a commit, and no more: who is refused has written nothing and takes nobody along."""
    stores = Stores(max_queue=5)
    known = stores.submit(quiet(), key="known").id
    asked: list[tuple[str, JobRequest]] = [("known", quiet(content="another")), ("known", quiet())]
    asked += [("new", quiet())] * 2 + [(f"k{number}", quiet()) for number in range(6)]
    stores.submit(quiet(), key="other")

    def submit(number: int) -> Submitted | str:
        try:
            return stores.submitted(asked[number][1], key=asked[number][0])
        except (IdempotencyConflict, QueueFull) as refusal:
            return type(refusal).__name__

    with meeting(len(asked)):
        got = together(len(asked), submit)
    assert got[0] == "IdempotencyConflict"
    assert isinstance(got[1], Submitted)
    assert (got[1].job.id, got[1].replayed) == (known, True)
    made = {each.job.id for each in got[2:] if isinstance(each, Submitted)}
    # PostgreSQL's submissions do not see those that are not committed yet.
    assert len(made) == 3 or engine.kind == "postgresql", "as many as there was room for"
    assert {each for each in got[2:] if isinstance(each, str)} <= {"QueueFull"}
    assert engine.count("jobs") == engine.count("payloads") == 2 + len(made)


def test_one_key_makes_one_job_of_submissions_that_are_committed_together(engine: Engine, stores: Stores) -> None:
    """Whoever comes second in the same round is answered with what the first made, or refused for another body."""
    asked = [quiet(), quiet(content="another")] * 4

    def submit(number: int) -> str:
        try:
            return stores.submitted(asked[number], key="k").job.id
        except IdempotencyConflict as refusal:
            return f"not {refusal.job_id}"

    with meeting(len(asked)):
        got = together(len(asked), submit)
    [(made,)] = engine.rows("SELECT id FROM jobs")
    assert sorted(got) == [made] * 4 + [f"not {made}"] * 4
    assert engine.count("payloads") == 1


def test_new_jobs_are_told_of_once_they_are_committed_and_only_they(engine: Engine, stores: Stores) -> None:
    """Those of one commit all at once, in one of the threads; not a job that a key found, nor one that was refused."""
    known = stores.submit(quiet(), key="known").id
    told: list[list[str]] = []

    def tell(jobs: Sequence[Job]) -> None:
        there = {each for (each,) in engine.rows("SELECT id FROM jobs")}
        assert {job.id for job in jobs} <= there
        told.append([job.id for job in jobs])

    def submit(number: int) -> str | None:
        key = "known" if number in {0, 1} else None
        asked = quiet(content="another") if number == 1 else quiet()
        try:
            return stores.jobs.submit(asked, job_id=new_id(), key=key, now=T0, tell=tell).job.id
        except IdempotencyConflict:
            return None

    with meeting(10):
        got = together(10, submit)
    assert got[:2] == [known, None]
    assert sorted(each for jobs in told for each in jobs) == sorted(str(each) for each in got[2:])
    assert len(told) <= (2 if engine.kind == "sqlite" else 8)


def test_jobs_that_are_committed_together_are_written_by_few_statements(engine: Engine, stores: Stores) -> None:
    """On SQLite each statement costs the thread the interpreter, for which all others wait as well."""
    stores.submit()
    asked: list[str] = []
    engine.database.query_hooks.append(lambda event: asked.append(event.sql))
    try:
        with meeting(20):
            jobs = together(20, lambda number: stores.submit(request(metadata={"n": number, "team": "a"})))
    finally:
        engine.database.query_hooks.clear()
    assert [stores.jobs.get(job.id) for job in jobs] == jobs
    assert engine.count("payloads") == engine.count("events") == len(jobs) + 1
    assert engine.count("labels") == 2 * len(jobs)
    inserted = sum(sql.startswith("INSERT") for sql in asked)
    # One job by itself, with four tables; of the other 19 two statements for each table and three for 38 labels.
    assert inserted <= (4 + 3 * 2 + 3 if engine.kind == "sqlite" else 4 * len(jobs))


@pytest.mark.parametrize("count", [*range(10), 16, 17, 63, 64, 65, 200])
def test_any_number_of_rows_is_inserted(engine: Engine, count: int) -> None:
    """Each of them once, whatever statements they are spread over."""
    rows = [(f"{number:032}", f"{number:026}") for number in range(count)]
    with write():
        Insertion(LabelRow).execute(rows)
    assert sorted(engine.rows("SELECT digest, job_id FROM labels")) == rows
