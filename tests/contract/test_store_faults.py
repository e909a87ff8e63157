from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from foreman.domain.job import Claim
from foreman.domain.lifecycle import State
from foreman.errors import StoreUnavailable
from foreman.store import database
from foreman.store.database import LOCK_TIMEOUT_S
from tests.postgres import PostgresServer
from tests.stores import (
    BOOM,
    T0,
    Engine,
    Stores,
    completion,
    counts,
    new_id,
    open_engine,
    opened,
    quiet,
    read_only,
    request,
    together,
    wait_until,
)

#: Everything that a fault must leave as it was.
TABLES = ("jobs", "payloads", "labels", "events", "attempts", "artifacts", "upstreams", "tombstones")

#: Seconds that callers wait for a lock where the time itself is not what is tested.
SHORT_S = 0.5


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database."""
    with opened("sqlite", f"sqlite:///{tmp_path}/foreman.db") as engine:
        yield engine


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may kill."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def killable(server: PostgresServer) -> Iterator[Engine]:
    """A database on ``server``."""
    with opened("postgresql", server.url()) as engine:
        yield engine


def unavailable(call: Callable[[], Any], *, after_s: float) -> bool:
    """Whether ``call`` finds the store unavailable, having waited ``after_s`` and not much longer."""
    before = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call()
    return after_s * 0.9 < time.monotonic() - before < after_s + 2


def test_a_locked_sqlite_file_is_unavailable_to_writers_and_not_to_readers(sqlite: Engine) -> None:
    """Another program holds the write lock: nothing is written, and the caller is told within seconds."""
    stores = Stores()
    job = stores.submit()
    before = sqlite.all_rows(*TABLES)
    with closing(sqlite3.connect(sqlite.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert unavailable(stores.submit, after_s=LOCK_TIMEOUT_S)
        assert stores.jobs.get(job.id) == job
    assert sqlite.all_rows(*TABLES) == before
    assert stores.claim().job.id == job.id


def test_a_file_that_is_no_database_is_unavailable_and_left_as_it_is(tmp_path: Path) -> None:
    """A wrong path is a wrong setting, and no fault in the program; nothing is written over what is there."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 100)
    database.connect(f"sqlite:///{file}")
    try:
        for transaction in (database.read, database.write):
            with pytest.raises(StoreUnavailable, match="not a database"), transaction():
                pytest.fail("there is nothing to read or write")
    finally:
        database.proxy.initialize(None)
    assert file.read_text() == "not a database\n" * 100


def test_a_writer_that_waits_for_its_turn_gives_up_as_well(tmp_path: Path) -> None:
    """Another thread of this process holds the turn."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            held.set()
            release.wait(60)

    with (
        opened("sqlite", f"sqlite:///{tmp_path}/foreman.db", lock_timeout_s=SHORT_S),
        ThreadPoolExecutor() as pool,
    ):
        holding = pool.submit(hold)
        held.wait(60)
        try:
            assert unavailable(Stores().submit, after_s=SHORT_S)
        finally:
            release.set()
        holding.result()
        assert Stores().submit().state is State.QUEUED


def test_a_row_locked_by_another_on_postgresql_is_unavailable_too(postgres: PostgresServer) -> None:
    """Somebody's forgotten transaction does not hold a caller for ever either."""
    url = postgres.url("contract")
    with opened("postgresql", url, lock_timeout_s=SHORT_S) as engine, psycopg.connect(url) as other:
        stores = Stores()
        claim = stores.working(quiet())
        before = engine.all_rows(*TABLES)
        other.execute("SELECT 1 FROM jobs FOR UPDATE")
        assert unavailable(lambda: stores.renew(claim, T0 + 1), after_s=SHORT_S)
        assert engine.all_rows(*TABLES) == before
        other.rollback()
        stores.renew(claim, T0 + 1)


def _succeeds(call: Callable[[], Any]) -> bool:
    try:
        call()
    except StoreUnavailable:
        return False
    return True


def test_locks_of_a_machine_that_fell_silent_are_free_before_long(postgres: PostgresServer) -> None:
    """Cut off or frozen in the middle of a transaction it does not hold a job for ever."""
    with opened("postgresql", postgres.url("contract"), lock_timeout_s=SHORT_S):
        stores = Stores()
        claim = stores.working()
        cut, back = threading.Event(), threading.Event()

        def silent() -> None:
            with database.write():
                stores.renew(claim, T0 + 1)
                cut.set()
                back.wait(60)

        with ThreadPoolExecutor() as pool:
            late = pool.submit(silent)
            cut.wait(60)
            try:
                assert unavailable(lambda: stores.renew(claim, T0 + 2), after_s=SHORT_S)
                wait_until(lambda: _succeeds(lambda: stores.renew(claim, T0 + 2)))
            finally:
                back.set()
            with pytest.raises(StoreUnavailable):
                late.result()
        stores.renew(claim, T0 + 3)


def full(engine: Engine) -> None:
    """Let the file of a SQLite database grow no further; the bound is one connection's, so all that are idle go."""
    [[pages]] = engine.rows("PRAGMA page_count")
    engine.database._pragmas = [*engine.database._pragmas, ("max_page_count", pages)]
    engine.database.close_idle()


def roomy(engine: Engine) -> None:
    """End ``full``."""
    engine.database._pragmas = [*engine.database._pragmas, ("max_page_count", 2**30)]
    engine.database.close_idle()


@pytest.mark.parametrize("write", ["submit", "complete", "finish", "stored"])
def test_a_full_disk_is_unavailable_and_nothing_is_half_written(sqlite: Engine, write: str) -> None:
    """What was acknowledged is all there, what was refused is not there at all, and with room it goes on."""
    stores = Stores(inline_limit_b=10**9)
    large = b'"' + b"x" * 200_000 + b'"'
    running = stores.working()
    finished = stores.working()
    made = completion(finished.job.id, large)
    stores.claims.complete(finished, made, {}, T0)
    writes: dict[str, Callable[[], Any]] = {
        "submit": lambda: stores.submit(request(content="x" * 200_000)),
        "complete": lambda: stores.claims.complete(running, completion(running.job.id, large), {}, T0),
        "finish": lambda: stores.claims.finish(running, completion(running.job.id, large), {}, T0),
        "stored": lambda: stores.artifacts.stored(made, None, T0),
    }
    before = sqlite.all_rows(*TABLES)
    full(sqlite)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            writes[write]()
        assert sqlite.all_rows(*TABLES) == before
    assert stores.jobs.get(running.job.id).state is State.WORKING
    roomy(sqlite)
    writes[write]()
    assert sqlite.all_rows(*TABLES) != before


def test_a_read_only_database_is_unavailable_to_writers(engine: Engine) -> None:
    """A standby after a failover, a file system remounted: no server error, a clear word."""
    stores = Stores()
    job = stores.submit()
    with read_only():
        with pytest.raises(StoreUnavailable):
            stores.submit()
        assert stores.jobs.get(job.id) == job
    stores.submit()


def test_a_restart_of_the_server_between_two_calls_is_not_noticed(server: PostgresServer, killable: Engine) -> None:
    """Every pooled connection is dead, and each call replaces what it needs."""
    stores = Stores()
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: stores.submit(), range(8)))
        server.restart()
        assert list(pool.map(lambda job: stores.jobs.get(job.id), jobs)) == jobs
        server.restart()
        assert isinstance(stores.claims.claim(T0), Claim)


def test_a_server_that_dies_within_a_call_makes_it_fail_and_nothing_else(
    server: PostgresServer, killable: Engine
) -> None:
    """The call that was under way is refused and leaves no trace; the next one works."""
    stores = Stores()
    job = stores.submit()

    def interrupted() -> None:
        with database.write():
            stores.claims.fail(stores.claim(), BOOM, T0)
            server.restart()
            stores.submit()

    with pytest.raises(StoreUnavailable):
        interrupted()
    assert stores.jobs.get(job.id) == job
    assert stores.claim().job.id == job.id


def test_a_server_that_dies_while_a_call_waits_for_a_lock_makes_it_fail(
    server: PostgresServer, killable: Engine
) -> None:
    """The answer comes with the death of the server, not at some later time-out."""
    stores = Stores()
    claim = stores.working(quiet())
    other = psycopg.connect(killable.url)
    other.execute("SELECT 1 FROM jobs FOR UPDATE")
    with ThreadPoolExecutor() as pool, psycopg.connect(killable.url, autocommit=True) as watcher:
        renewing = pool.submit(stores.renew, claim, T0 + 1)
        wait_until(lambda: bool(watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall()))
        server.restart()
        with pytest.raises(StoreUnavailable):
            renewing.result()
    stores.renew(claim, T0 + 1)
    with pytest.raises(psycopg.OperationalError):
        other.execute("SELECT 1")
    other.close()


def test_a_server_that_is_away_is_unavailable_at_once(server: PostgresServer, killable: Engine) -> None:
    """Nobody listens: reads and writes say so, again and again, and work when it is back."""
    stores = Stores()
    job = stores.submit()
    server.stop()
    for _ in range(30):
        with pytest.raises(StoreUnavailable):
            stores.submit()
        with pytest.raises(StoreUnavailable):
            stores.jobs.get(job.id)
    server.start()
    assert stores.jobs.get(job.id) == job


def test_a_server_that_takes_connections_and_says_nothing_is_given_up() -> None:
    """A host that hangs: the caller waits for the bound on connecting, not for the system's minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        engine = open_engine("postgresql", f"postgresql://postgres@127.0.0.1:{port}/x?connect_timeout=2")
        assert unavailable(lambda: Stores().jobs.get(new_id()), after_s=2)
        engine.database.close_all()


def test_more_callers_than_connections_wait_their_turn(postgres: PostgresServer) -> None:
    """The pool is a bound on connections, not on callers."""
    with opened("postgresql", postgres.url("contract"), pool_size=2) as engine, ThreadPoolExecutor(16) as pool:
        stores = Stores()
        ids = list(pool.map(lambda _: stores.submit(quiet()).id, range(64)))
        assert len(set(ids)) == 64
        assert len(engine.database._connections) <= 2


def test_a_caller_that_gets_no_connection_is_told(postgres: PostgresServer) -> None:
    """All connections are taken for longer than a caller waits."""
    with (
        opened("postgresql", postgres.url("contract"), pool_size=1, lock_timeout_s=SHORT_S),
        ThreadPoolExecutor() as pool,
        database.read(),
    ):
        assert pool.submit(unavailable, Stores().submit, after_s=SHORT_S).result()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_both_schemes_of_a_postgresql_url_work(postgres: PostgresServer, scheme: str) -> None:
    """Hosting services hand out either."""
    with opened("postgresql", postgres.url("contract").replace("postgresql", scheme, 1)):
        assert counts()[State.QUEUED] == 0


def test_threads_that_end_leave_no_connection_open(sqlite: Engine) -> None:
    """A connection goes back to the pool with its transaction, not with its thread."""
    stores = Stores()
    for _ in range(20):
        thread = threading.Thread(target=stores.submit)
        thread.start()
        thread.join()
    assert len(sqlite.database._connections) <= 2


def test_a_commit_that_promises_nothing_is_not_synced_and_the_next_one_is(sqlite: Engine) -> None:
    """Whatever became of the first: the connection goes back to the pool as it came."""

    def synchronous() -> int:
        return int(sqlite.database.execute_sql("PRAGMA synchronous").fetchone()[0])

    normal, full = 1, 2
    with database.write(durable=False):
        assert synchronous() == normal
    with database.write():
        assert synchronous() == full
    with pytest.raises(RuntimeError), database.write(durable=False):
        raise RuntimeError
    with database.write():
        assert synchronous() == full


def test_postgresql_syncs_what_promises_nothing_as_well(postgres: PostgresServer) -> None:
    """It may die alone, and whoever lives on must not know of what it has forgotten."""
    with opened("postgresql", postgres.url()) as engine, database.write(durable=False):
        assert engine.database.execute_sql("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_round_that_fails_is_refused_as_a_whole(sqlite: Engine) -> None:
    """Nobody is answered before the commit, so without one nobody has a job."""
    stores = Stores()

    def submit(_: int) -> str:
        try:
            return stores.submit(request()).id
        except StoreUnavailable:
            return ""

    with read_only():
        assert set(together(8, submit)) == {""}
        assert sqlite.count("jobs") == 0
    assert len(set(together(8, submit)) - {""}) == sqlite.count("jobs") == 8
