"""What a job says while it lives, its states and its text, written to one capped Redis stream per job.

It is for those who watch: nothing is decided by it. What is lost here (Redis was away, the stream was trimmed or is
over) stands in the database, where the states and the whole text are.

``$namespace:live:$job_id``
    A stream, see ``live.lua``. The types of its entries and their data, JSON objects::

        state    {"state", "at": "…Z", "sequence": 1.., "attempt", "error"?: {"code", "message", …}}
        text     a line of the upstream's answer, to the byte: {"message": {"content"|"thinking"|"tool_calls": …}, …}
        restart  {"attempt", "error"?}: another run is to come or begins, and the text of the one before is void;
                 "error" is what ended that, where it is known
        gap      {}: here something is missing
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import Any

import redis

from foreman import clock
from foreman.domain.job import JobFailure, Moment
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.moment import rfc3339
from foreman.queue.broker import WakingRedisBroker
from foreman.queue.circuit import Circuit
from foreman.queue.outage import Outage

_logger = logging.getLogger(__name__)

_APPEND_LUA = resources.files(__package__).joinpath("live.lua").read_text()

#: Entries kept per job, about: ten thousand tokens, 1.5 MB of Redis's memory (measured). A follower that is further
#: behind is told of a gap.
MAX_ENTRIES = 10_000

#: Longest data of an entry, in bytes; a line beyond it becomes a gap. Lines of text have some 200, tool calls that
#: write a file some 50,000. The lines that are longer hold images, and a few jobs with many would fill Redis.
MAX_DATA_B = 262_144

#: Seconds that a stream lives after its last entry, and after its end. The first bounds what abandoned jobs leave in
#: Redis, the second is for followers that come back after a broken connection.
_LIFE_S, _AFTERLIFE_S = 3600, 300

#: Entries, and bytes of them, that wait for the writer at most, per job: seconds of text, for an outage or a hiccup of
#: Redis. Only text is turned away: there is hardly anything else.
_BACKLOG, _BACKLOG_B = 1000, 2**20

#: Seconds that the end of a job waits to be written: some hundred times what it takes, and what a caller can spare.
_FLUSH_S = 0.5

#: Jobs whose gaps are remembered until Redis is back, the latest ones.
_MAX_SPOILT = 1000


class Kind(StrEnum):
    """What an entry is about: its field ``type``."""

    STATE = "state"
    TEXT = "text"
    RESTART = "restart"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be written; ``data`` is JSON, ``last`` whether the job ends with it."""

    type: Kind
    data: bytes
    last: bool = False


_GAP = Draft(Kind.GAP, b"{}")


@dataclass(slots=True)
class _Backlog:
    """What waits to be written of one job, in order."""

    drafts: list[Draft] = field(default_factory=list)
    size_b: int = 0

    def add(self, draft: Draft) -> None:
        if draft.type is Kind.TEXT and (len(self.drafts) >= _BACKLOG or self.size_b >= _BACKLOG_B):
            draft = _GAP
        if draft is _GAP and self.drafts and self.drafts[-1] is _GAP:
            return
        self.drafts.append(draft)
        self.size_b += len(draft.data)


def key(namespace: str, job_id: str) -> str:
    """The job's stream in Redis."""
    return f"{namespace}:live:{job_id}"


class Publisher:
    """Writes to the streams from a thread of its own, so that the one which reads the upstream never waits for Redis.

    Its methods raise nothing, and only a terminal state and ``flush`` wait at all. What one process publishes of a job
    arrives in order, or not at all where Redis is away or too slow: then a gap takes its place as soon as it can. Safe
    to share between threads, and to create before a fork: the writer starts with the first entry.
    """

    def __init__(self, broker: WakingRedisBroker, *, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._broker = broker
        outage = Outage(_logger, "Live text and states are dropped; the database has them")
        self._circuit = Circuit(outage, redis.RedisError, monotonic=monotonic)
        self._changed = threading.Condition()
        self._backlogs: dict[str, _Backlog] = {}
        #: Rounds of the writer that were begun, and that are over.
        self._begun = self._over = 0
        self._writer: threading.Thread | None = None
        self._closed = False
        #: Jobs that entries were lost of, in the order of loss; only the writer touches it.
        self._spoilt: dict[str, None] = {}

    def text(self, job_id: str, line: bytes) -> None:
        """The upstream's next line, a JSON object, kept as it is; longer than ``MAX_DATA_B`` it becomes a gap."""
        self._add(job_id, _GAP if len(line) > MAX_DATA_B else Draft(Kind.TEXT, line))

    def state(  # noqa: PLR0913 - they are what the entry says
        self,
        job_id: str,
        state: State,
        *,
        at: Moment,
        sequence: int,
        attempt: int,
        failure: JobFailure | None = None,
    ) -> None:
        """The job reached ``state``, its ``sequence``-th; ``failure`` is why, if that is ``failed``.

        ``queued`` is not written: nobody can know of the job yet, and a stream with one entry takes 4.4 KB of Redis's
        memory (measured), which a million queued jobs do not have.

        A terminal state is the last entry of the stream, whoever publishes it; it waits until it is written, half a
        second at most. Where another process will publish it, ``flush`` before that process can know of it.
        """
        if state is State.QUEUED:
            return
        body: dict[str, Any] = {"state": str(state), "at": rfc3339(at), "sequence": sequence, "attempt": attempt}
        if failure is not None:
            body["error"] = failure.as_json()
        terminal = state in TERMINAL
        self._add(job_id, Draft(Kind.STATE, compact(body), last=terminal))
        if terminal:
            self.flush()

    def restart(self, job_id: str, attempt: int, failure: JobFailure | None = None) -> None:
        """Run ``attempt`` is to come or begins, and the text of the one before, which ``failure`` ended, is void."""
        error = {} if failure is None else {"error": failure.as_json()}
        self._add(job_id, Draft(Kind.RESTART, compact({"attempt": attempt} | error)))

    def flush(self, timeout_s: float = _FLUSH_S) -> bool:
        """Wait until all entries published before are written or dropped; ``False``: they were not in ``timeout_s``."""
        with self._changed:
            # What waits now is taken by the next round, what does not is in the one that may be under way.
            wanted = self._begun + bool(self._backlogs)
            return self._changed.wait_for(lambda: self._over >= wanted, timeout_s)

    def close(self) -> None:
        """Flush, and end the writer; what is published later is dropped."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add(self, job_id: str, draft: Draft) -> None:
        with self._changed:
            if self._closed:
                return
            self._backlogs.setdefault(job_id, _Backlog()).add(draft)
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write_all, name="live-writer", daemon=True)
                self._writer.start()
            self._changed.notify_all()

    def _write_all(self) -> None:
        while backlogs := self._take():
            try:
                self._write(backlogs)
            finally:
                with self._changed:
                    self._over += 1
                    self._changed.notify_all()

    def _take(self) -> dict[str, _Backlog]:
        """All that waits, as soon as anything does; nothing once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._backlogs or self._closed)
            backlogs, self._backlogs = self._backlogs, {}
            self._begun += bool(backlogs)
            return backlogs

    def _write(self, backlogs: dict[str, _Backlog]) -> None:
        if self._circuit.attempt(lambda: self._append(backlogs)):
            self._spoilt.clear()
            return
        self._spoilt.update(dict.fromkeys(backlogs))
        while len(self._spoilt) > _MAX_SPOILT:
            self._spoilt.pop(next(iter(self._spoilt)))

    def _append(self, backlogs: dict[str, _Backlog]) -> None:
        pipeline = self._broker.client.pipeline(transaction=False)
        for job_id in self._spoilt.keys() | backlogs.keys():
            drafts = [_GAP] if job_id in self._spoilt else []
            if job_id in backlogs:
                drafts += backlogs[job_id].drafts
            args = [arg for draft in drafts for arg in (draft.type, draft.data, int(draft.last))]
            stream = key(self._broker.namespace, job_id)
            # Not EVALSHA: it fails where a script is not known yet, and the script is no longer than a few entries.
            pipeline.eval(_APPEND_LUA, 1, stream, MAX_ENTRIES, _LIFE_S, _AFTERLIFE_S, *args)
        pipeline.execute()
