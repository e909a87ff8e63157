r"""``GET /jobs/{id}/events``: a job's states and text as server-sent events, or its states so far as JSON.

An event, after the HTML standard, section 9.2.6::

    id: <where to go on from, for Last-Event-ID>
    event: state | text | restart | gap
    data: <a JSON object on one line; see queue/live.py>

A client that was told of a gap is given the whole text again before ``done``, after a ``restart``.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman.api import shown
from foreman.api.client import Client
from foreman.api.places import Place, Places
from foreman.api.query import job_id_of
from foreman.clock import monotonic
from foreman.domain.job import Job, Moment
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import State
from foreman.domain.moment import rfc3339
from foreman.queue.follower import Ended, Entry
from foreman.queue.live import MAX_DATA_B, Kind
from foreman.services.watch import Watch, Watcher
from foreman.store.jobs import Jobs

MEDIA_SSE = "text/event-stream"

#: Seconds of silence after which a comment is sent: proxies drop connections that are silent for a minute or half.
KEEP_ALIVE_S = 15.0
#: Seconds between two looks at whether the client still listens and this process goes on.
LOOK_S = 0.5
#: Milliseconds after which a client whose connection broke should come back.
RETRY_MS = 1000
#: Entries sent with one write at most.
BATCH = 100

#: A media range of ``Accept`` with its weight, RFC 9110 section 12.5.1.
_SSE = re.compile(rf"{MEDIA_SSE}\s*(?:;\s*(?!q=)[^,;]*)*(?:;\s*q=([0-9.]+))?\s*(?:[,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EventsResource:
    """``GET`` only."""

    jobs: Jobs
    watcher: Watcher
    places: Places
    #: Set when this process is asked to stop: followers come back to another.
    stopping: threading.Event

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Follow the job from its first state or from after ``Last-Event-ID``; 204 if the client has seen its end."""
        job_id = job_id_of(job_id)
        resp.set_header("Vary", "Accept")
        resp.set_header("Cache-Control", "no-store")
        if not wants_stream(req.accept):
            resp.data = compact(history(self.jobs.get(job_id)))
            resp.content_type = falcon.MEDIA_JSON
            return
        place = self.places.take()
        try:
            watch = self.watcher.watch(job_id, req.get_header("Last-Event-ID"))
        except BaseException:
            place.leave()
            raise
        stream = EventStream(self.watcher, watch, Client.of(req), place, self.stopping)
        if watch.told_of_end:
            # By which the HTML standard tells a browser not to come back.
            stream.close()
            resp.status = HTTPStatus.NO_CONTENT
            return
        resp.content_type = MEDIA_SSE
        resp.set_header("X-Accel-Buffering", "no")  # else nginx keeps events back
        resp.stream = stream


def wants_stream(accept: str) -> bool:
    """Whether ``Accept`` names the stream's media type; ``*/*`` does not."""
    found = _SSE.search(accept)
    return found is not None and (found[1] is None or found[1].strip("0.") != "")


def history(job: Job) -> shown.JobHistory:
    """The states that a job has reached, in order."""
    entries = [_entry(job, number, state, at) for number, (state, at) in enumerate(job.reached, start=1)]
    return {"job_id": job.id, "events": entries}


def _entry(job: Job, sequence: int, state: State, at: Moment) -> shown.HistoryEntry:
    """A state as the stream has it, but for the run, whose number is only known of the last one."""
    entry: shown.HistoryEntry = {"state": state, "at": rfc3339(at), "sequence": sequence}
    if state is State.FAILED and job.failure is not None:
        entry["error"] = job.failure.as_json()
    return entry


class EventStream:
    """The events as gunicorn takes them, and ``close`` whatever happens."""

    def __init__(  # noqa: PLR0913  a follower, and all that can end it
        self,
        watcher: Watcher,
        watch: Watch,
        client: Client,
        place: Place,
        stopping: threading.Event,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._watcher = watcher
        self._watch = watch
        self._client = client
        self._place = place
        self._stopping = stopping
        self._had_text = watch.resumed
        self._begun = self._over = False
        self._keep_alive_s = keep_alive_s
        self._keep_alive_at_s = monotonic() + keep_alive_s

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        if not self._begun:
            self._begun = True
            return b"retry: %d\n\n" % RETRY_MS
        while not (self._over or self._stopping.is_set() or self._client.gone()):
            if events := self._gather():
                self._keep_alive_at_s = monotonic() + self._keep_alive_s
                return events
            if monotonic() >= self._keep_alive_at_s:
                self._keep_alive_at_s = monotonic() + self._keep_alive_s
                return b":\n\n"
        raise StopIteration

    def close(self) -> None:
        """Follow no more, and leave the place to others."""
        self._watch.close()
        self._place.leave()

    def _gather(self) -> bytes:
        """What is there, waited for if nothing is; empty if nothing came."""
        events: list[bytes] = []
        entry = self._watch.next(LOOK_S)
        while isinstance(entry, Entry):
            events.append(self._event(entry))
            entry = self._watch.next(0) if len(events) < BATCH else None
        self._over = isinstance(entry, Ended)
        return b"".join(events)

    def _event(self, entry: Entry) -> bytes:
        written = _written(entry.type, entry.data, entry.id)
        if entry.type is not Kind.STATE:
            self._had_text = True
        elif not self._watch.whole and (data := json.loads(entry.data))["state"] == State.DONE:
            return self._whole_text(data["attempt"]) + written
        return written

    def _whole_text(self, attempt: int) -> bytes:
        """What the stream did not have all of, from the artifact; without an id, since nothing goes on from there."""
        text = self._watcher.completion(self._watch.job_id)
        if text is None or len(text) > MAX_DATA_B:
            return _written(Kind.GAP, b"{}")
        void = _written(Kind.RESTART, compact({"attempt": attempt})) if self._had_text else b""
        return void + _written(Kind.TEXT, text)


def _written(kind: Kind, data: bytes, place: str | None = None) -> bytes:
    where = b"" if place is None else b"id: %b\n" % place.encode()
    # Between two values JSON may have a carriage return, by which an event's line would end.
    return where + b"event: %b\ndata: %b\n\n" % (kind.encode(), data.replace(b"\r", b" "))
