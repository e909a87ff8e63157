"""What the queue's work costs over a hundred thousand queued jobs, beside what it costs over a thousand.

``make bench`` has a million; what grows with the queue shows at a hundred times as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from foreman.clock import first_id
from foreman.domain.job import Claim, Spent
from foreman.domain.lifecycle import Cause, State
from foreman.domain.schedule import Server
from foreman.errors import QueueFull
from foreman.store import database, heads
from foreman.store.endings import Endings
from foreman.store.jobs import Filter
from foreman.store.line import Outlook
from foreman.store.upstreams import Upstreams
from tests.contract.conftest import ENGINES
from tests.plans import analyze, cost, plans, scans, sorts
from tests.postgres import PostgresServer
from tests.stores import LEASE_MS, ORIGIN, T0, Engine, Stores, completion, opened

FEW, MANY = 1_000, 100_000

#: How much more it may cost over a hundred times as many: a B-tree of twice the height.
GROWTH = 2.0

#: Indexes over what runs: as many rows as there are slots.
SMALL = ("jobs_leased",)

#: Milliseconds by which everything below was submitted, and every job that is ready is.
NOW = T0 + MANY

#: A number for each job, its id, which begins with the moment T0 as every id does with one, and when it was submitted.
NUMBERS = f"""
WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < :last),
numbers (n, id, at) AS (SELECT n, '{first_id(T0)}' || CAST(1000000000000000 + n AS TEXT), {T0} + n FROM counted)
"""  # noqa: S608 (numbers of this file)

#: Queued jobs of 50 models and 3 priorities; one in 10 has a start deadline, which the first five have missed, and one
#: in 20 failed once and waits for its next run.
JOBS = """
INSERT INTO jobs (id, state, model, priority, metadata, webhook_stopped, ttl_s, start_deadline_s, load_timeout_s,
    exec_timeout_s, stall_timeout_s, attempt, losses, created_at, start_by, ready_at, lease_token, version, digest)
:numbers
SELECT id, 'queued', 'model' || CAST(n / 3 % 50 AS TEXT), n % 3, '{}', FALSE, 60, CASE WHEN n % 10 = 0 THEN 60 END, 60,
    60, 60, CASE WHEN n % 20 = 7 THEN 1 ELSE 0 END, 0, at,
    CASE WHEN n % 10 = 0 THEN at + CASE WHEN n < 50 THEN 60 ELSE 10000000000 END END,
    at + CASE WHEN n % 20 = 7 THEN 5000000000 ELSE 0 END, 0, 1, ''
FROM numbers
"""

#: What a claim hands out.
PAYLOADS = "INSERT INTO payloads (job_id, body) :numbers SELECT id, CAST('' AS :blob) FROM numbers"

#: Each job's first event; one in a hundred is still to be delivered.
EVENTS = """
INSERT INTO events (job_id, sequence, state, created_at, body, origin, status, attempts, lease_token, next_attempt_at)
:numbers
SELECT id, 1, 'queued', at, CAST('' AS :blob), 'https://host.example.com',
    CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'delivered' END, 0, 0, CASE WHEN n % 100 = 0 THEN at END
FROM numbers
"""

#: What the first jobs left behind, in numbers that make PostgreSQL use an index.
ARTIFACTS = """
INSERT INTO artifacts (job_id, name, content_type, size_b, sha256, created_at, stored_at)
:numbers
SELECT id, 'partial', 'text/plain', 0, '', at, at FROM numbers WHERE n < 10000
"""


@dataclass(frozen=True)
class Sized:
    """The same queue twice: a thousand jobs long, and a hundred thousand."""

    few: Engine
    many: Engine

    def cost(self, call: Callable[[Stores], Any]) -> tuple[int, int]:
        """What ``call`` costs over each of them."""
        return _cost(self.few, call), _cost(self.many, call)


def _cost(engine: Engine, call: Callable[[Stores], Any]) -> int:
    database.proxy.initialize(engine.database)
    return cost(engine, lambda: call(Stores(slots=8)))


@pytest.fixture(scope="module", params=ENGINES)
def sized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sized]:
    """Both queues, each with three jobs that run."""
    with ExitStack() as exits:

        def made(count: int) -> Engine:
            if request.param == "sqlite":
                url = f"sqlite:///{tmp_path_factory.mktemp('cost')}/foreman.db"
            else:
                server: PostgresServer = request.getfixturevalue("postgres")
                url = server.create(f"cost{count}")
            engine = exits.enter_context(opened(request.param, url))
            fill(engine, count)
            return engine

        yield Sized(made(FEW), made(MANY))


def fill(engine: Engine, count: int) -> None:
    """Rows made by the engine itself."""
    blob = "BLOB" if engine.kind == "sqlite" else "BYTEA"
    with database.write():
        connection: Any = engine.database.connection()
        for rows in (JOBS, PAYLOADS, EVENTS, ARTIFACTS):
            sql = rows.replace(":numbers", NUMBERS).replace(":last", str(count - 1)).replace(":blob", blob)
            connection.execute(sql)
    analyze(engine)
    stores = Stores(slots=3)
    for _ in range(3):
        stores.claim(NOW)


def refused(stores: Stores) -> None:
    """A submission to a queue that is full."""
    with pytest.raises(QueueFull):
        Stores(max_queue=500).submit()


def in_too_long_a_line(stores: Stores) -> None:
    """A place that is not counted to its end."""
    line = replace(stores.line, counted=500)
    assert line.outlook(stores.jobs.get(a_job()), NOW) == Outlook(None, None)


def run(stores: Stores) -> None:
    """A job from its claim to ``done``."""
    claim = stores.claims.claim(NOW)
    assert isinstance(claim, Claim)
    stores.claims.begin(claim, State.LOADING, NOW)
    stores.claims.begin(claim, State.WORKING, NOW)
    stores.renew(claim, NOW)
    stores.claims.complete(claim, completion(claim.job.id), {}, NOW, Spent(None, 1.0))
    stores.artifacts.stored(completion(claim.job.id), None, NOW)


def short_run(stores: Stores) -> None:
    """A job from its claim to ``done``, with a completion that stays in its row."""
    claim = stores.claims.claim(NOW)
    assert isinstance(claim, Claim)
    stores.claims.begin(claim, State.WORKING, NOW)
    stores.claims.finish(claim, completion(claim.job.id), {}, NOW, Spent(None, 1.0))


def retry(stores: Stores) -> None:
    """A run that fails and waits for its next."""
    claim = stores.claims.claim(NOW)
    assert isinstance(claim, Claim)
    stores.claims.retry(claim, NOW + 1000, counted=True)


def a_job() -> str:
    """One in the middle of the shorter queue."""
    return f"{first_id(T0)}{10**15 + 500}"


#: What is asked again and again whatever the length of the queue.
CALLS: dict[str, Callable[[Stores], Any]] = {
    "a claim": lambda stores: stores.claim(NOW),
    "a run": run,
    "a short run": short_run,
    "a retry": retry,
    "ready": lambda stores: stores.claims.ready(NOW, 8),
    "ready, when nothing is": lambda stores: stores.claims.ready(T0 - 1, 8),
    "fronts, none in memory": lambda _: heads.candidates([Server("a", (), None, 0)], NOW),
    "fronts, some in memory": lambda _: heads.candidates(
        [Server("a", (), "model7", 1), Server("b", (), "model8", 1), Server("c", (), "gone", 1)], NOW
    ),
    "fronts for choosy upstreams": lambda _: heads.candidates(
        [Server("a", ("model1*",), "model12", 3), Server("b", ("model7", "model8"), None, 0)], NOW
    ),
    "fronts that no upstream can run": lambda _: heads.candidates([Server("a", ("other",), None, 0)], NOW),
    "models that jobs wait for": lambda _: heads.waiting_models(),
    "slots in use": lambda stores: Upstreams(stores.claims.upstreams).standings(),
    "expire, when none is": lambda stores: stores.claims.expire(NOW, max_losses=3),
    "expire": lambda stores: stores.claims.expire(NOW + 2 * LEASE_MS, max_losses=3),
    "start deadlines": lambda stores: Endings(stores.outbox).start_deadlines(NOW),
    "cancel": lambda stores: Endings(stores.outbox).cancel(a_job(), Cause.CANCELLED, NOW),
    "a full queue": refused,
    "a place in a line that is too long": in_too_long_a_line,
    "events due": lambda stores: stores.events.due(NOW, 10),
    "next event due": lambda stores: stores.events.next_due(ORIGIN, NOW),
    "artifacts waiting": lambda stores: stores.artifacts.waiting(NOW, 10),
    "expired": lambda stores: stores.pruning.expired(NOW, 10),
    "a job": lambda stores: stores.jobs.get(a_job()),
    "a page": lambda stores: stores.jobs.page(Filter(before=a_job(), limit=10)),
    "a page of a state": lambda stores: stores.jobs.page(Filter(State.QUEUED, limit=10)),
    "a page of a model": lambda stores: stores.jobs.page(Filter(model="model3", limit=10)),
    "a page of new jobs": lambda stores: stores.jobs.page(Filter(created_after=NOW)),
}

#: These count the queue up to a bound. Where all jobs are queued, PostgreSQL may count the table's rows as well as the
#: index's; ``test_store_plans`` shows the index where most are not.
COUNTED = ("a full queue", "a place in a line that is too long")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_costs_no_more_over_a_hundred_times_the_queue(sized: Sized, name: str) -> None:
    """Only what a deeper index takes. A cost counted in steps, pages and rows is the same on any machine."""
    few, many = sized.cost(CALLS[name])
    assert 0 < many <= GROWTH * few


@pytest.mark.parametrize("name", [name for name in CALLS if name not in COUNTED])
def test_each_statement_finds_its_rows_in_order(sized: Sized, name: str) -> None:
    """Over a hundred thousand queued jobs nothing is scanned, and nothing sorted but the few jobs that run."""
    database.proxy.initialize(sized.many.database)
    stores = Stores(slots=8)
    found = plans(sized.many, lambda: CALLS[name](stores))
    assert found
    assert [each for each in found if scans(each, SMALL) or sorts(each, SMALL)] == []
