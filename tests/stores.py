"""What the store's tests share: databases of both kinds, the stores on one, requests, and many workers at once."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from peewee import fn

from foreman.domain.delivery import Attempt, Decision, Delivered, RetryIn, Stopped, TryError
from foreman.domain.job import Artifact, Claim, Job, JobFailure, JobRequest, Limits, NoClaim, Priority, Webhook
from foreman.domain.lifecycle import Cause, State
from foreman.domain.origin_health import CircuitPolicy
from foreman.domain.schedule import Policy
from foreman.domain.upstream import Slots
from foreman.store import database, schema
from foreman.store.arrivals import Submitted
from foreman.store.artifacts import Artifacts
from foreman.store.claims import Claims
from foreman.store.deliveries import Deliveries
from foreman.store.events import Events, Sending
from foreman.store.jobs import Jobs
from foreman.store.line import Line
from foreman.store.models import TABLES, JobRow
from foreman.store.origins import Origins
from foreman.store.outbox import Outbox
from foreman.store.pruning import Pruning
from foreman.store.redelivery import Redelivery
from foreman.store.room import Room

A = TypeVar("A")
T = TypeVar("T")

#: The moment at which every test begins, milliseconds.
T0 = 1_700_000_000_000

#: Milliseconds that a claim and a try hold in these tests.
LEASE_MS = 60_000
SENDING_MS = 30_000

#: Seconds that tests wait for threads and processes that should take milliseconds.
PATIENCE_S = 60.0

#: The one upstream, and when its model is swapped: never within a test that does not care.
UPSTREAM = "default"
POLICY = Policy(max_wait_ms=1_000_000_000, max_streak=1_000_000)

#: A circuit opens on the third failure in a row with three events waiting, for 10 s, 20 s, 40 s.
CIRCUITS = CircuitPolicy(failures=3, waiting=3, open_s=10, open_max_s=40)

URL = "https://hooks.example.com/foreman"
ORIGIN = "https://hooks.example.com"

BOOM = JobFailure(Cause.UPSTREAM_ERROR, "it broke", 500)

OK = Attempt(status=200, error=None, retry_after=None, excerpt="thanks", duration_ms=12)
BUSY = Attempt(status=503, error=None, retry_after=None, excerpt="", duration_ms=3)
GONE = Attempt(status=410, error=None, retry_after=None, excerpt="", duration_ms=3)
LATE = Attempt(status=None, error=TryError.TIMEOUT, retry_after=None, excerpt="", duration_ms=10_000)

_ids = itertools.count(1)


@dataclass(frozen=True)
class Engine:
    """An empty, migrated database, and this process's connections to it."""

    kind: str
    url: str
    database: database.Engine

    @property
    def path(self) -> Path:
        """The file of a SQLite database."""
        return Path(self.url.removeprefix("sqlite:///"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to ``sql`` on a connection that is not the store's."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.path)
            try:
                return connection.execute(sql).fetchall()
            finally:
                connection.close()
        with psycopg.connect(self.url) as other:
            return other.execute(sql.encode()).fetchall()

    def somebody_waits(self) -> bool:
        """Whether a call on PostgreSQL waits for a row that another transaction holds."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(self.rows(waiting))

    def all_rows(self, *tables: str) -> list[list[tuple[Any, ...]]]:
        """Everything in some tables."""
        return [sorted(self.rows(f"SELECT * FROM {table}"), key=repr) for table in tables]  # noqa: S608 (as below)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        [(count,)] = self.rows(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 (the tests' own words)
        return int(count)


def open_engine(kind: str, url: str, *, pool_size: int = 20, lock_timeout_s: float = database.LOCK_TIMEOUT_S) -> Engine:
    """Make ``url`` this process's database."""
    return Engine(kind, url, database.connect(url, pool_size=pool_size, lock_timeout_s=lock_timeout_s))


def empty(engine: Engine) -> None:
    """Delete every row."""
    with database.write():
        for table in TABLES:
            table.delete().execute()


@contextmanager
def opened(kind: str, url: str, **options: Any) -> Iterator[Engine]:
    """``url`` as this process's database, migrated and emptied, until the end of the block."""
    engine = open_engine(kind, url, **options)
    try:
        schema.migrate()
        empty(engine)
        yield engine
    finally:
        engine.database.close_all()


@contextmanager
def read_only() -> Iterator[None]:
    """This process's database refuses to be written to, as a standby after a failover or a disk mounted anew does."""
    _set_read_only("on")
    try:
        yield
    finally:
        _set_read_only("off")


def _set_read_only(value: str) -> None:
    store: Any = database.proxy.obj
    if database.is_postgres():
        with psycopg.connect(store.database, autocommit=True) as other:
            other.execute("SET default_transaction_read_only = off")  # for this session, which is to change it for all
            name = other.info.dbname
            other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'.encode())
    else:
        store._pragmas = [*store._pragmas, ("query_only", value)]
    store.close_idle()


@dataclass(frozen=True)
class Stores:
    """The stores of one process, with short names for what tests do all the time.

    Actions of a test happen at moments that it names; what it leaves open happens at ``T0``.
    """

    slots: int = 2
    max_queue: int = 1000
    inline_limit_b: int = 100
    origin_limit: int = 2
    outbox: Outbox = field(init=False)
    jobs: Jobs = field(init=False)
    line: Line = field(init=False)
    claims: Claims = field(init=False)
    artifacts: Artifacts = field(init=False)
    events: Events = field(init=False)
    origins: Origins = field(init=False)
    pruning: Pruning = field(init=False)
    deliveries: Deliveries = field(init=False)
    redelivery: Redelivery = field(init=False)

    def __post_init__(self) -> None:
        outbox = Outbox("http://foreman.example", self.inline_limit_b)
        parts = {
            "outbox": outbox,
            "jobs": Jobs(outbox, Room(self.max_queue)),
            "line": Line((Slots(UPSTREAM, self.slots),), POLICY),
            "claims": Claims(outbox, (Slots(UPSTREAM, self.slots),), POLICY, LEASE_MS),
            "artifacts": Artifacts(outbox),
            "events": Events(SENDING_MS, self.origin_limit),
            "origins": Origins(CIRCUITS),
            "pruning": Pruning(),
            "deliveries": Deliveries(),
            "redelivery": Redelivery(),
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)

    def submit(
        self, asked: JobRequest | None = None, *, at: int = T0, key: str | None = None, job_id: str | None = None
    ) -> Job:
        """A new job; its id is the next one in order unless given."""
        return self.submitted(asked, at=at, key=key, job_id=job_id).job

    def submitted(
        self, asked: JobRequest | None = None, *, at: int = T0, key: str | None = None, job_id: str | None = None
    ) -> Submitted:
        """As ``submit``, with word of whether it was new."""
        return self.jobs.submit(asked or request(), job_id=job_id or new_id(), key=key, now=at)

    def claim(self, at: int = T0) -> Claim:
        """A claim; fails where there is none."""
        claim = self.claims.claim(at)
        assert isinstance(claim, Claim)
        return claim

    def refuses_to_claim(self, at: int = T0) -> bool:
        """Whether there is nothing to claim."""
        return isinstance(self.claims.claim(at), NoClaim)

    def renew(self, claim: Claim, at: int) -> None:
        """Renew the lease of a claim."""
        self.claims.renew(claim, at)

    def hold(self, until: int) -> None:
        """Leave the upstream alone."""
        self.claims.hold(UPSTREAM, until)

    def release(self) -> None:
        """Forget that the upstream failed."""
        self.claims.release(UPSTREAM)

    def working(self, asked: JobRequest | None = None, *, at: int = T0) -> Claim:
        """A new job that has come to ``working``, by its claim."""
        self.submit(asked, at=at)
        claim = self.claim(at)
        self.claims.begin(claim, State.LOADING, at)
        self.claims.begin(claim, State.WORKING, at)
        return claim

    def done(self, asked: JobRequest | None = None, *, at: int = T0, location: str | None = None) -> Job:
        """A new job that is ``done``, all at one moment."""
        claim = self.working(asked, at=at)
        made = completion(claim.job.id)
        self.claims.complete(claim, made, {"eval_count": 3}, at)
        job = self.artifacts.stored(made, location, at)
        assert job is not None
        return job

    def send(self, job_id: str, attempt: Attempt = OK, decision: Decision | None = None, *, at: int = T0) -> Sending:
        """Try the job's next event, with this outcome; fails where none is due."""
        sending = self.events.claim(job_id, at)
        assert sending is not None, f"no event of {job_id} is due"
        self.events.record(sending, attempt, decision or outcome(attempt), at)
        return sending

    def deliver_all(self, job_id: str, *, at: int = T0) -> None:
        """Deliver what is pending."""
        while (sending := self.events.claim(job_id, at)) is not None:
            self.events.record(sending, OK, Delivered(), at)

    def statuses(self, job_id: str) -> list[tuple[str, str]]:
        """The job's events, in order: state and status."""
        return [(str(event.state), event.status) for event in self.events.of(job_id)]


def outcome(attempt: Attempt) -> Decision:
    """A plain decision: success, 410, or once more after a second."""
    if attempt.status == 200:
        return Delivered()
    return Stopped() if attempt.status == 410 else RetryIn(1.0)


def new_id() -> str:
    """An id like a ULID that sorts behind all before it, in this process."""
    return f"01TEST{next(_ids):020d}"


def request(  # a submission has many parts, and each test cares for one
    *,
    model: str = "smol",
    metadata: dict[str, Any] | None = None,
    priority: Priority = Priority.NORMAL,
    webhook: bool = True,
    url: str = URL,
    events: frozenset[State] | None = None,
    ttl_s: float = 3600,
    content: str = "hello",
) -> JobRequest:
    """A valid submission."""
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    payload = json.dumps(body).encode()
    return JobRequest(
        model=model,
        payload=payload,
        metadata=metadata or {},
        priority=priority,
        limits=Limits(ttl_s, None, 600, 3600, 300, None),
        webhook=Webhook(url, events) if webhook else None,
        digest=hashlib.sha256(payload).hexdigest(),
    )


def counts() -> dict[State, int]:
    """How many jobs are in each state."""
    with database.read():
        found: Any = JobRow.select(JobRow.state, fn.COUNT(JobRow.id)).group_by(JobRow.state).tuples()
        return dict.fromkeys(State, 0) | {State(state): int(count) for state, count in found}


def quiet(**changes: Any) -> JobRequest:
    """A valid submission without a webhook."""
    return replace(request(**changes), webhook=None)


def completion(job_id: str, data: bytes = b'{"message":{"content":"hi"}}') -> Artifact:
    """What a run produced."""
    return Artifact(
        job_id=job_id,
        name="completion",
        content_type="application/json",
        size_b=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as ``condition`` holds; fails after ``PATIENCE_S``."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """``work(0)`` … ``work(count - 1)``, each in a thread, all begun at once; raises what the first of them raised."""
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            start.wait(PATIENCE_S)
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001 (handed to the test's own thread)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return [results[number] for number in range(count)]


def in_processes(count: int, work: Callable[[str], T], url: str) -> list[T]:
    """``work(url)`` in each of ``count`` new processes, all begun at once; ``work`` is a module's function."""
    return in_processes_of(work, [url] * count)


def in_processes_of(work: Callable[[A], T], given: Sequence[A]) -> list[T]:
    """``work`` on each of ``given``, each in a new process, all begun at once; ``work`` is a module's function."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(given))
    with context.Pool(len(given), initializer=_enter, initargs=(start,)) as pool:
        return pool.map_async(work, given, chunksize=1).get(PATIENCE_S)


def _enter(start: Any) -> None:
    start.wait(PATIENCE_S)


def migrate_release(given: tuple[str, Path]) -> list[str]:
    """What ``migrate`` applied to a database, by a release that has the migrations in a directory."""
    url, schema._MIGRATIONS = given
    database.connect(url)
    return schema.migrate()


@dataclass(frozen=True)
class Held:
    """A slot was held from one moment to another, seconds by the clock that all processes of a machine share."""

    job_id: str
    since: float
    until: float


def run_all(url: str) -> list[Held]:
    """Claim and fail jobs until none is left, for ``in_processes``; says when it held which."""
    database.connect(url)
    return run_until_empty(Stores(slots=3))


def run_until_empty(stores: Stores) -> list[Held]:
    """Claim and fail jobs until none is left; says when it held which."""
    held: list[Held] = []
    deadline = time.monotonic() + PATIENCE_S
    while counts()[State.QUEUED]:
        claim = stores.claims.claim(T0)
        since = time.monotonic()
        if isinstance(claim, Claim):
            os.sched_yield()
            held.append(Held(claim.job.id, since, time.monotonic()))
            stores.claims.fail(claim, BOOM, T0)
        assert since < deadline, "the queue does not drain"
    return held


def most_at_once(held: Sequence[Held]) -> int:
    """How many slots were held at the same time, at most."""
    edges = sorted([(each.since, 1) for each in held] + [(each.until, -1) for each in held])
    return max(itertools.accumulate(change for _, change in edges))
