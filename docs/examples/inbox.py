"""What a receiver keeps: every event once, and of each job the newest state that it has been told. SQLite, one file.

Events of one job come in order, but one that is sent again comes after later ones: what is older changes nothing.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, sequence INTEGER NOT NULL);
"""

#: A job moves to what has a higher sequence, and nowhere else: terminal states have the highest.
_MOVE = """
INSERT INTO jobs (id, state, sequence) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE
SET state = excluded.state, sequence = excluded.sequence WHERE excluded.sequence > jobs.sequence
"""


class Inbox:
    """The file at ``path``. Several processes and threads may use it at once."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with closing(self._connect()) as database:
            # Readers do not hold up who writes, and a commit is on disk before it returns.
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_TABLES)

    def keep(self, event_id: str, body: bytes, job: tuple[str, str, int] | None) -> bool:
        """Record an event; ``job``: its id, state and sequence, if it is one of a job. False: it was known already.

        When this has returned the event is on disk: answer 2xx only now.
        """
        with closing(self._connect()) as database, database:
            found = database.execute("INSERT OR IGNORE INTO events (id, body) VALUES (?, ?)", (event_id, body))
            if not found.rowcount:
                return False
            if job is not None:
                database.execute(_MOVE, job)
            return True

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5)
        database.execute("PRAGMA synchronous = FULL")
        return database
