"""Jobs that ended while their receiver was away: rows written at once, and what it sees when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from foreman import clock
from foreman.domain.event import event_id
from foreman.domain.lifecycle import State
from foreman.store import database
from foreman.store.models import EventRow, JobRow
from foreman.store.rows import job_columns
from tests.receiver import Received, Reply
from tests.stores import new_id, quiet

STATES = (State.QUEUED, State.LOADING, State.WORKING, State.DONE)

#: Rows in one statement: SQLite's parameters are limited.
_CHUNK = 500


def fill(database_url: str, webhook_url: str, jobs: int) -> list[str]:
    """Write ``jobs`` jobs, each with four events of which none has been tried; returns their ids."""
    engine = database.connect(database_url)
    now = clock.now() - 1000
    ids = [new_id() for _ in range(jobs)]
    ended = {"state": State.DONE, "ready_at": None, "webhook_url": webhook_url, "ended_at": now}
    rows = [{**job_columns(each, quiet(), None, now), **ended, "expires_at": now + 10**9} for each in ids]
    events = [
        {
            "job_id": each,
            "sequence": number,
            "state": state,
            "created_at": now,
            "body": f'{{"id":"{event_id(each, state)}","job_id":"{each}","sequence":{number}}}'.encode(),
            "origin": webhook_url.rpartition("/")[0],
            "status": "pending",
            "next_attempt_at": now if number == 1 else None,
        }
        for each in ids
        for number, state in enumerate(STATES, 1)
    ]
    try:
        with database.write():
            for table, all_rows in ((JobRow, rows), (EventRow, events)):
                for start in range(0, len(all_rows), _CHUNK):
                    table.insert_many(all_rows[start : start + _CHUNK]).execute()
    finally:
        engine.close_all()
    return ids


@dataclass
class Turnstile:
    """A receiver's answer that counts how many tries are under way."""

    #: Seconds that each answer takes, so that tries overlap.
    takes_s: float = 0.005
    most: int = 0
    _inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, _request: Received) -> Reply:
        """Accept, after a moment."""
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(self.takes_s)
        with self._lock:
            self._inside -= 1
        return 204, {}, b""


def out_of_order(received: Sequence[Received]) -> list[str]:
    """The jobs whose events did not come first in the order of the states."""
    first: dict[str, list[int]] = {}
    for event in (each.json for each in received):
        sequences = first.setdefault(event["job_id"], [])
        if event["sequence"] not in sequences:
            sequences.append(event["sequence"])
    return [job_id for job_id, sequences in first.items() if sequences != sorted(sequences)]
