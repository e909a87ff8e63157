"""How a transaction begins, waits and fails on SQLite and on PostgreSQL; everything above sees one behaviour.

SQLite: WAL with ``synchronous=FULL`` (a reply is a promise), ``BEGIN IMMEDIATE``, and one writer at a time, waiting in
line on a side file instead of polling the database. PostgreSQL: a pool, a connection per transaction.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from peewee import DatabaseProxy, InterfaceError, OperationalError, SqliteDatabase
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from foreman import clock
from foreman.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peewee import SelectBase

#: The database of this process; ``connect`` sets it, the models are bound to it.
proxy = DatabaseProxy()

#: Seconds a writer waits for its turn before it reports the database as unavailable: long enough for a checkpoint of a
#: large WAL, short enough for an HTTP client to be told.
LOCK_TIMEOUT_S = 5.0

#: First and longest pause between looks at the side file while another process holds it, seconds.
LOCK_POLL_S = (0.0002, 0.002)


class SqliteStore(SqliteDatabase):
    """SQLite whose write transactions queue on ``<file>.lock``: measured 1.7 times the throughput of busy polling."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            str(path),
            pragmas={"journal_mode": "wal", "synchronous": "full", "foreign_keys": 0, "cache_size": -8000},
            timeout=LOCK_TIMEOUT_S,
            lock_type="IMMEDIATE",
        )
        self._turn = threading.Lock()
        self._turn_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the write turn of this database, over all its threads and processes.

        Raises:
            OperationalError: the turn did not come within ``LOCK_TIMEOUT_S``.
        """
        deadline = clock.monotonic() + LOCK_TIMEOUT_S
        if not self._turn.acquire(timeout=LOCK_TIMEOUT_S):
            raise OperationalError("database is locked")  # noqa: TRY003 (peewee's own error, SQLite's own words)
        try:
            self._lock_file(deadline)
            try:
                yield
            finally:
                fcntl.flock(self._turn_file, fcntl.LOCK_UN)
        finally:
            self._turn.release()

    def _lock_file(self, deadline: float) -> None:
        pause, longest = LOCK_POLL_S
        while True:
            try:
                fcntl.flock(self._turn_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if clock.monotonic() > deadline:
                    raise OperationalError("database is locked") from None  # noqa: TRY003 (as above)
                time.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                return


class PostgresStore(PooledPostgresqlDatabase):
    """PostgreSQL through psycopg 3; a connection that died with its server is dropped and replaced at ``BEGIN``."""

    def __init__(self, url: str, pool_size: int) -> None:
        super().__init__(
            url, max_connections=pool_size, timeout=LOCK_TIMEOUT_S, stale_timeout=300, prefer_psycopg3=True
        )

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Nothing to hold: rows are locked, not the database."""
        yield


Engine = SqliteStore | PostgresStore


def connect(url: str, *, pool_size: int = 20) -> Engine:
    """Make ``url`` (``postgresql://…``, ``sqlite:///relative`` or ``sqlite:////absolute``) this process's database.

    The SQLite file's directory must exist. No connection is opened yet.
    """
    parts = urlsplit(url)
    engine: Engine
    if parts.scheme == "sqlite":
        engine = SqliteStore(Path(unquote(parts.path)[1:]))
    else:
        engine = PostgresStore(url, pool_size)
    proxy.initialize(engine)
    return engine


def is_postgres() -> bool:
    """Whether row locks exist and must be taken; on SQLite the writer's turn stands for all of them."""
    return isinstance(proxy.obj, PostgresStore)


def locked(query: SelectBase, *, skip: bool = False) -> Any:
    """``query`` with ``FOR UPDATE`` where the engine has it; ``skip`` passes over rows that others hold."""
    return query.for_update(skip_locked=skip) if is_postgres() else query


@contextmanager
def write() -> Iterator[None]:
    """One write transaction: all of it is committed, or nothing is. Inside another ``write`` it is part of that.

    Raises:
        StoreUnavailable: the database is locked, full or away; nothing was written.
    """
    database: Any = proxy.obj
    if database.in_transaction():
        yield
        return
    try:
        with database.writer(), _transaction(database):
            yield
    except (OperationalError, InterfaceError, MaxConnectionsExceeded) as error:
        raise StoreUnavailable(str(error)) from error


@contextmanager
def read() -> Iterator[None]:
    """One read transaction: every query in it sees the same moment. Inside ``write`` it is part of that.

    Raises:
        StoreUnavailable: as ``write``.
    """
    database: Any = proxy.obj
    if database.in_transaction():
        yield
        return
    try:
        with _transaction(database, *([] if is_postgres() else ["DEFERRED"])):
            yield
    except (OperationalError, InterfaceError, MaxConnectionsExceeded) as error:
        raise StoreUnavailable(str(error)) from error


@contextmanager
def _transaction(database: Any, *kind: str) -> Iterator[None]:
    """A transaction on a connection of this thread: from the pool on PostgreSQL, kept open on SQLite."""
    database.connect(reuse_if_open=True)
    try:
        with ExitStack() as stack:
            stack.push(_begin(database, *kind))
            yield
    finally:
        if isinstance(database, PostgresStore):
            database.close()


def _begin(database: Any, *kind: str) -> Any:
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
