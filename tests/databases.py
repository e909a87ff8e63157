"""The database of tests that do not run on each: SQLite, or PostgreSQL where pytest was told ``--database postgresql``.

On PostgreSQL there is one server for the whole session, started when it is first needed, and a database each.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.postgres import PostgresServer

SQLITE, POSTGRESQL = "sqlite", "postgresql"
ENGINES = (SQLITE, POSTGRESQL)

_numbers = itertools.count(1)


class Session:
    """What this session of pytest was told, and the server that follows from it."""

    def __init__(self) -> None:
        self.engine = SQLITE
        self._server: PostgresServer | None = None

    def new(self, file: Path) -> str:
        """The URL of an empty database: that file, which is not made, or one on the server."""
        if self.engine == SQLITE:
            return f"sqlite:///{file}"
        if self._server is None:
            self._server = PostgresServer()
            self._server.start()
        return self._server.create(f"tests_{next(_numbers)}")

    def end(self) -> None:
        """Stop the server, if there is one."""
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None


SESSION = Session()
