"""How a transaction begins, waits and fails on SQLite and on PostgreSQL; everything above sees one behaviour.

A connection is taken from a pool for each transaction. SQLite: WAL with ``synchronous=FULL`` (a reply is a promise;
``write`` says what is none), ``BEGIN IMMEDIATE``, and one writer at a time, waiting in line on a side file instead of
polling the database.
PostgreSQL: rows are locked, and waited for no longer than SQLite's writers wait for their turn.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from peewee import DatabaseError, DatabaseProxy, InterfaceError, InternalError, OperationalError
from playhouse.pool import (  # type: ignore[import-untyped]  # reason: peewee's stubs leave playhouse out
    MaxConnectionsExceeded,
    PooledPostgresqlDatabase,
    PooledSqliteDatabase,
)

from foreman import clock
from foreman.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The database of this process; ``connect`` sets it, the models are bound to it.
proxy = DatabaseProxy()

#: Seconds a caller waits for its turn, a lock or a connection before the database counts as unavailable: long enough
#: for a checkpoint of a large WAL, short enough for an HTTP client to be told.
LOCK_TIMEOUT_S = 5.0

#: First and longest pause between looks at the side file while another process holds it, seconds.
LOCK_POLL_S = (0.0002, 0.002)

#: What peewee raises when the database cannot be used now; ``InternalError`` when it has become a read-only standby.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError, MaxConnectionsExceeded)

#: How many times the above PostgreSQL lets a client be silent within a transaction: a machine that was cut off, or
#: frozen there, would keep its locks for hours. No transaction waits for anything but the database.
IDLE_LOCK_TIMEOUTS = 4

#: How libpq notices a server that is gone without a word, unless the URL says otherwise: seconds to connect, and about
#: twenty until a silent connection is given up, milliseconds until unacknowledged data is.
LIBPQ = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}


class SqliteStore(PooledSqliteDatabase):  # type: ignore[misc]  # reason: as above
    """SQLite whose write transactions queue on ``<file>.lock``: measured 1.7 times the throughput of busy polling.

    A pool without a bound: a thread that ends leaves no open connection behind, and none ever waits for one.
    """

    def __init__(self, path: Path, lock_timeout_s: float) -> None:
        super().__init__(
            str(path),
            max_connections=0,
            pragmas={
                "busy_timeout": round(lock_timeout_s * 1000),
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": 0,
                "cache_size": -8000,
            },
            lock_type="IMMEDIATE",
            check_same_thread=False,
        )
        self._lock_timeout_s = lock_timeout_s
        self._turn = threading.Lock()
        self._turn_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def writer(self, patience_s: float | None = None) -> Iterator[None]:
        """Hold the write turn of this database, over all its threads and processes.

        Raises:
            OperationalError: the turn did not come in time.
        """
        timeout_s = self._lock_timeout_s if patience_s is None else patience_s
        deadline = clock.monotonic() + timeout_s
        if not self._turn.acquire(timeout=timeout_s):
            # As if SQLite itself had waited: its error and its words.
            raise OperationalError("database is locked")
        try:
            self._lock_file(deadline)
            try:
                yield
            finally:
                fcntl.flock(self._turn_file, fcntl.LOCK_UN)
        finally:
            self._turn.release()

    @contextmanager
    def lazily(self) -> Iterator[None]:
        """Commit to the operating system only: the disk has it with the next full commit, of whatever process."""
        self.execute_sql("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self.execute_sql("PRAGMA synchronous = FULL")

    def _lock_file(self, deadline: float) -> None:
        pause, longest = LOCK_POLL_S
        while True:
            try:
                fcntl.flock(self._turn_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if clock.monotonic() > deadline:
                    raise OperationalError("database is locked") from None
                time.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                return


class PostgresStore(PooledPostgresqlDatabase):  # type: ignore[misc]  # reason: as above
    """PostgreSQL through psycopg 3; a connection that died with its server is dropped and replaced at ``BEGIN``."""

    def __init__(self, url: str, pool_size: int, lock_timeout_s: float) -> None:
        given = parse_qs(urlsplit(url).query)
        super().__init__(
            url,
            max_connections=pool_size,
            timeout=lock_timeout_s,
            stale_timeout=300,
            prefer_psycopg3=True,
            **{key: value for key, value in LIBPQ.items() if key not in given},
        )
        patience_ms = round(lock_timeout_s * 1000)
        self._limits = (
            f"SET LOCAL lock_timeout = {patience_ms}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_LOCK_TIMEOUTS * patience_ms}"
        )

    def begin(self, isolation_level: str | None = None) -> None:
        """``BEGIN``, and how long to wait for others' locks and to keep ours without a word, in one round trip."""
        level = f" ISOLATION LEVEL {isolation_level}" if isolation_level else ""
        self.execute_sql(f"BEGIN{level}; {self._limits}")

    @contextmanager
    def writer(self, patience_s: float | None = None) -> Iterator[None]:  # noqa: ARG002 -- as SQLite's
        """Nothing to hold: rows are locked, not the database."""
        yield

    @contextmanager
    def lazily(self) -> Iterator[None]:
        """As durable as ever: the server may crash alone, and workers that live on must not know more than it."""
        yield


Engine = SqliteStore | PostgresStore


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; ``None``: it is PostgreSQL's."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)[1:]) if parts.scheme == "sqlite" else None


def connect(url: str, *, pool_size: int = 20, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Engine:
    """Make ``url`` this process's database: ``postgresql://…``, ``sqlite:///relative`` or ``sqlite:////absolute``.

    The SQLite file's directory must exist. No connection is opened yet.
    """
    engine: Engine
    if file := sqlite_file(url):
        engine = SqliteStore(file, lock_timeout_s)
    else:
        # libpq knows ``postgres://`` as well, peewee does not.
        postgres_url = urlsplit(url)._replace(scheme="postgresql").geturl()
        engine = PostgresStore(postgres_url, pool_size, lock_timeout_s)
    proxy.initialize(engine)
    return engine


def is_postgres() -> bool:
    """Whether row locks exist and must be taken; on SQLite the writer's turn stands for all of them."""
    return isinstance(proxy.obj, PostgresStore)


def server_now() -> int | None:
    """The clock of the machine that PostgreSQL runs on, milliseconds since the epoch; ``None``: SQLite has none.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    database: Any = proxy.obj
    if not is_postgres():
        return None
    with read():
        [moment] = database.execute_sql("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchone()
    return int(moment)


def locked(query: Any, *, skip: bool = False) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    """``query`` with ``FOR UPDATE`` where the engine has it; ``skip`` passes over rows that others hold."""
    return query.for_update(skip_locked=skip) if is_postgres() else query


def in_transaction() -> bool:
    """Whether the calling thread is inside ``write`` or ``read``."""
    database: Any = proxy.obj
    return bool(database.in_transaction())


@contextmanager
def write(*, durable: bool = True, patience_s: float | None = None) -> Iterator[None]:
    """One write transaction: all of it is committed, or nothing is. Inside another ``write`` it is part of that.

    Not ``durable``: on SQLite a loss of power may undo it, until the next durable commit, whoever makes that, which
    takes all before it along. For what no other machine has been told of by then. ``patience_s`` is how long to wait
    for SQLite's turn to write, by default ``LOCK_TIMEOUT_S``.

    Raises:
        StoreUnavailable: the database is locked, full or away; nothing was written, unless a server died just between
            its commit and its answer.
    """
    database: Any = proxy.obj
    if in_transaction():
        yield
        return
    try:
        with database.writer(patience_s), _transaction(database, durable=durable):
            yield
    except UNAVAILABLE as error:
        raise StoreUnavailable(str(error)) from error
    except DatabaseError as error:
        _refuse_damaged(error)
        raise


@contextmanager
def read() -> Iterator[None]:
    """One read transaction: every query in it sees the same moment. Inside ``write`` it is part of that.

    Raises:
        StoreUnavailable: as ``write``.
    """
    database: Any = proxy.obj
    if in_transaction():
        yield
        return
    try:
        with _transaction(database, "REPEATABLE READ READ ONLY" if is_postgres() else "DEFERRED"):
            yield
    except UNAVAILABLE as error:
        raise StoreUnavailable(str(error)) from error
    except DatabaseError as error:
        _refuse_damaged(error)
        raise


def _refuse_damaged(error: DatabaseError) -> None:
    """SQLite has no word of its own for a file that is damaged, or none of its; whatever has one is a fault of ours."""
    if type(error) is DatabaseError:
        raise StoreUnavailable(str(error)) from error


@contextmanager
def _transaction(database: Any, *kind: str, durable: bool = True) -> Iterator[None]:  # noqa: ANN401  (peewee is untyped)
    """A transaction on a connection from the pool, which has it back afterwards."""
    database.connect(reuse_if_open=True)
    try:
        with ExitStack() as stack:
            if not durable:
                stack.enter_context(database.lazily())
            stack.push(_begin(database, *kind))
            yield
    finally:
        database.close()


def _begin(database: Any, *kind: str) -> Any:  # noqa: ANN401  (as above)
    """``BEGIN``; on a pooled connection whose server has restarted, once more on a new one: nothing ran on it yet."""
    transaction = database.transaction(*kind)
    try:
        transaction.__enter__()
    except (OperationalError, InterfaceError):
        if not isinstance(database, PostgresStore):
            raise
        database.manual_close()
        database.close_idle()
        database.connect(reuse_if_open=True)
        transaction = database.transaction(*kind)
        transaction.__enter__()
    return transaction
