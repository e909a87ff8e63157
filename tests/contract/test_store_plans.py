"""The queries that run all the time, as the engines plan them over thousands of jobs: look-ups, never scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from foreman.domain.job import Priority
from foreman.domain.lifecycle import State
from foreman.store import database
from foreman.store.deliveries import EventFilter
from foreman.store.gauges import Gauges
from foreman.store.jobs import Filter
from foreman.store.models import ArtifactRow, AttemptRow, EventRow, JobRow, LabelRow, PayloadRow, TombstoneRow
from foreman.store.overview import Overview
from foreman.store.rows import job_columns, label
from tests.contract.conftest import ENGINES
from tests.plans import analyze, plans, scans
from tests.postgres import PostgresServer
from tests.stores import LATE, ORIGIN, T0, URL, Engine, Stores, opened, quiet

#: Enough for a scan to be the dearer plan on PostgreSQL.
ROWS = 10_000

#: Indexes over no more rows than are waiting for something.
PARTIAL = (
    "jobs_queued",
    "jobs_leased",
    "events_pending",
    "events_dead",
    "events_dead_since",
    "events_origin_due",
    "events_sending",
)


@pytest.fixture(scope="module", params=ENGINES)
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Ten thousand jobs, a third of them queued and the rest done, few with anything pending; and as much besides."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/foreman.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create("plans")
    with opened(request.param, url) as engine:
        fill()
        analyze(engine)
        yield engine


def fill() -> None:
    """Rows as a busy installation has them."""
    numbers = range(ROWS)
    jobs = [job_columns(_id(number), quiet(model=f"model{number % 5}"), None, T0 + number) for number in numbers]
    for number, job in enumerate(jobs):
        ended = number % 3 != 0
        job["priority"] = int(Priority(number % 3))
        job["webhook_url"] = URL
        job["ended_at"] = job["expires_at"] = T0 + number if ended else None
        if ended:
            job.update(state=State.DONE, ready_at=None)
    events = [
        {
            "job_id": _id(number),
            "sequence": 1,
            "state": "queued",
            "created_at": T0,
            "body": b"{}",
            "origin": f"https://host{number % 50}.example.com",
            "status": "pending" if number % 100 == 0 else "dead" if number % 100 == 1 else "delivered",
            "next_attempt_at": T0 if number % 100 == 0 else None,
        }
        for number in numbers
    ]
    artifacts = [
        {
            "job_id": _id(number),
            "name": "completion",
            "content_type": "x",
            "size_b": 1,
            "sha256": "",
            "created_at": T0,
            "stored_at": T0 if number % 1000 else None,
        }
        for number in numbers
    ]
    labels = [{"digest": label("n", str(number % 1000)), "job_id": _id(number)} for number in numbers]
    tombstones = [{"job_id": f"gone{number}", "at": T0 + number} for number in numbers]
    payloads = [{"job_id": _id(number), "body": b"{}"} for number in numbers]
    attempts = [{"job_id": _id(number), "sequence": 1, "attempt": 0, "at": T0} for number in numbers]
    with database.write():
        for table, rows in (
            (JobRow, jobs),
            (EventRow, events),
            (ArtifactRow, artifacts),
            (LabelRow, labels),
            (TombstoneRow, tombstones),
            (PayloadRow, payloads),
            (AttemptRow, attempts),
        ):
            for start in range(0, ROWS, 500):
                table.insert_many(rows[start : start + 500]).execute()


def _id(number: int) -> str:
    return f"01PLAN{number:020d}"


CALLS: dict[str, Callable[[Stores], Any]] = {
    "claim": lambda stores: stores.claims.claim(T0 + ROWS),
    "ready": lambda stores: stores.claims.ready(T0 + ROWS, 2),
    "expire": lambda stores: stores.claims.expire(T0 + ROWS, max_losses=3),
    "submit": lambda stores: stores.submit(key="k"),
    "event": lambda stores: stores.events.claim(_id(0), T0),
    "due": lambda stores: stores.events.due(T0, 10),
    "next due": lambda stores: stores.events.next_due(ORIGIN, T0),
    "beside": lambda stores: stores.events.claim(_id(1), T0, beside=True),
    "hopeless": lambda stores: stores.events.hopeless(T0, 10),
    "give up": lambda stores: stores.events.give_up(_id(0), T0, T0),
    "origin failed": lambda stores: stores.origins.failed(ORIGIN, LATE, jitter=1.0, now=T0),
    "probes": lambda stores: stores.origins.probes(T0, 10),
    "forget origins": lambda stores: stores.origins.forget(T0),
    "origins of note": lambda stores: stores.origins.of_note(T0, 10),
    "events counts": lambda stores: stores.events.counts(),
    "events of": lambda stores: stores.events.of(_id(5)),
    "redeliver": lambda stores: stores.redelivery.redeliver(_id(0), State.QUEUED, T0),
    "recover": lambda stores: stores.redelivery.recover(T0, None, T0, place=(T0, _id(50), 1), limit=10),
    "recover an origin": lambda stores: stores.redelivery.recover(T0, ORIGIN, T0, place=None, limit=10),
    "tries": lambda stores: stores.deliveries.tries(_id(5), T0, after=(T0, 1, 0), limit=10),
    "events": lambda stores: stores.deliveries.events(EventFilter(before=(_id(5_000), 1))),
    "pending events": lambda stores: stores.deliveries.events(EventFilter("pending")),
    "dead events": lambda stores: stores.deliveries.events(EventFilter("dead")),
    "delivered events": lambda stores: stores.deliveries.events(EventFilter("delivered", before=(_id(5_000), 1))),
    "skipped events": lambda stores: stores.deliveries.events(EventFilter("skipped", before=(_id(5_000), 1))),
    "events of a job": lambda stores: stores.deliveries.events(EventFilter("dead", _id(5))),
    "unstored": lambda stores: stores.artifacts.unstored(_id(5)),
    "waiting": lambda stores: stores.artifacts.waiting(T0 + 1, 10),
    "artifacts of": lambda stores: stores.artifacts.of(_id(5)),
    "get": lambda stores: stores.jobs.get(_id(5)),
    "position": lambda stores: stores.line.position(stores.jobs.get(_id(9_990)), T0 + ROWS),
    "outlook": lambda stores: stores.line.outlook(stores.jobs.get(_id(9_990)), T0 + ROWS),
    "payload": lambda stores: stores.jobs.payload(_id(5)),
    "overview": lambda stores: Overview(counted=500).counts(None),
    "overview of a key": lambda stores: Overview().counts("01KEY"),
    "page": lambda stores: stores.jobs.page(Filter(before=_id(5_000))),
    "page of a state": lambda stores: stores.jobs.page(Filter(State.QUEUED, before=_id(5_000))),
    "page of a model": lambda stores: stores.jobs.page(Filter(model="model3", before=_id(5_000))),
    "page of a label": lambda stores: stores.jobs.page(Filter(metadata=(("n", "7"),))),
    "expired": lambda stores: stores.pruning.expired(T0 + 100, 50),
    "expired, all here": lambda stores: stores.pruning.expired(T0 + 100, 50, elsewhere=False),
    "remove": lambda stores: stores.pruning.remove([_id(1), _id(2)], T0),
    "forget": lambda stores: stores.pruning.forget(T0 + 50, 50),
}


#: What ``/metrics`` counts, it counts from these: whole, and no row of the table is read for it.
WHOLE = ("jobs_ready_model", "artifacts_unstored")


def test_gauges_are_counted_from_indexes_alone(crowded: Engine) -> None:
    """However many jobs are kept, none of their rows is read but of the few that have begun."""
    found = [each for each in plans(crowded, lambda: Gauges().amounts(T0)) if '"counters"' not in each]
    assert found
    assert [each for each in found if scans(each, (*PARTIAL, *WHOLE))] == []


@pytest.mark.parametrize("name", CALLS)
def test_no_call_scans_a_table_that_grows(crowded: Engine, name: str) -> None:
    """Each statement of the call finds its rows through an index, with the parameters that it is run with."""
    stores = Stores(max_queue=ROWS)
    found = plans(crowded, lambda: CALLS[name](stores))
    assert found
    assert [each for each in found if scans(each, PARTIAL)] == []
