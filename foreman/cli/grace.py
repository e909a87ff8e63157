"""How long each process may take to stop, from SIGTERM to SIGKILL; seconds, beside ``workers.shutdown_grace_s``."""

from __future__ import annotations

#: The API. A kept-alive connection holds gunicorn for two seconds; requests that only wait end at once.
WEB_S = 2.5
#: A worker, beyond its grace: a run that was cut at the end of it hands its job back.
RECORD_MARGIN_S = 3.0
#: A worker, beyond that: what else there is to do at the end of a process.
EXIT_MARGIN_S = 1.0
#: The bundled model, which has nothing to keep.
MODEL_S = 0.5
#: PostgreSQL: it writes what is only in memory to its files, so that the next start has nothing to recover.
POSTGRES_S = 10.0
#: Valkey: it syncs its file, and has done so within the last second anyway.
VALKEY_S = 1.0
