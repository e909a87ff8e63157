"""Brings a database to the newest schema, one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from playhouse.migrations import Runner  # type: ignore[import-untyped]  # reason: peewee's stubs leave playhouse out

from foreman.store.database import is_postgres, proxy, read, write

_MIGRATIONS = Path(__file__).parent / "migrations"

#: Key of the advisory lock that keeps two releases from migrating at once; any constant that nobody else uses.
ADVISORY_LOCK = 0x466F_7265_6D61_6E00


def migrate() -> list[str]:
    """Apply what is missing and return the names of what was applied, oldest first; safe to call at every start.

    All or nothing, and one process at a time, whatever release it is of: the others wait for as long as it takes.

    Raises:
        StoreUnavailable: the database cannot be reached or written.
    """
    database: Any = proxy.obj
    # All migrations run in this one transaction. On SQLite its turn to write is the lock.
    with write(patience_s=threading.TIMEOUT_MAX):
        if is_postgres():
            # Let go of at the end of the transaction, however it ends.
            database.execute_sql("SET LOCAL lock_timeout = 0")
            database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
        return [str(name) for name in Runner(database, str(_MIGRATIONS)).up()]


def pending() -> list[str]:
    """The names of the migrations that ``migrate`` would apply.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    return [name for name, is_known, is_applied in _status() if is_known and not is_applied]


def unknown() -> list[str]:
    """The names of migrations that were applied by a newer release than this one.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    return [name for name, is_known, _ in _status() if not is_known]


def names() -> list[str]:
    """The names of all migrations of this release, oldest first: what an empty database has before it."""
    return sorted(path.stem for path in _MIGRATIONS.glob("[0-9]*.py"))


def _status() -> list[tuple[str, bool, bool]]:
    """Name, whether this release has it, whether it was applied."""
    with read():
        found = Runner(proxy.obj, str(_MIGRATIONS)).status()
    return [(str(each.name), each.path is not None, each.applied is not None) for each in found]
