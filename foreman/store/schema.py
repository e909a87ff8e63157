"""Brings a database to the newest schema, one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playhouse.migrations import Runner  # type: ignore[import-untyped]  # reason: peewee's stubs leave playhouse out

from foreman.store.database import is_postgres, proxy, read, write

#: Key of the advisory lock that keeps two releases from migrating at once; any constant that nobody else uses.
ADVISORY_LOCK = 0x466F_7265_6D61_6E00


def migrate() -> list[str]:
    """Apply what is missing and return the names of what was applied, oldest first; safe to call at every start.

    Raises:
        StoreUnavailable: the database cannot be reached or written.
    """
    database: Any = proxy.obj
    with write():
        # All migrations run in this one transaction; PostgreSQL lets go of the lock at its end, however it ends.
        if is_postgres():
            # Another process may be at it for as long as its migrations take.
            database.execute_sql("SET LOCAL lock_timeout = 0")
            database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
        return [str(name) for name in Runner(database, str(Path(__file__).parent / "migrations")).up()]


def pending() -> list[str]:
    """The names of the migrations that ``migrate`` would apply.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with read():
        runner = Runner(proxy.obj, str(Path(__file__).parent / "migrations"))
        return [str(migration.name) for migration in runner.status() if not migration.applied]
