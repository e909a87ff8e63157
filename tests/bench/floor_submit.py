"""The least that accepting a job durably must do: a Falcon application with one insert and one commit per request.

Served by gunicorn with the worker that foreman uses, on SQLite with foreman's pragmas. One connection per process and a
lock around it: threads that poll the database for their turn instead are slower.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from typing import Any

import falcon
from ulid import ULID


class _Jobs:
    def __init__(self, path: str) -> None:
        self._turn = threading.Lock()
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=wal", "synchronous=full", "cache_size=-8000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, body BLOB NOT NULL)")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Keep the body, and say under which id."""
        body = req.bounded_stream.read()
        json.loads(body)
        job_id = str(ULID())
        with self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO jobs VALUES (?, ?)", (job_id, body))
            self._database.execute("COMMIT")
        resp.status = falcon.HTTP_202
        resp.media = {"job_id": job_id, "state": "queued"}


def application() -> falcon.App[Any, Any]:
    """What gunicorn serves; ``FLOOR_DATABASE`` is the file."""
    app = falcon.App()
    app.add_route("/jobs", _Jobs(os.environ["FLOOR_DATABASE"]))
    return app
