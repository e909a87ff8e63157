"""One client that waits for one job: what it is told next, and what becomes of the job when it no longer listens."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import falcon

from foreman import logs
from foreman.api.client import Client
from foreman.api.gate import caller_of
from foreman.api.places import Place, Places
from foreman.domain.job import Job, JobFailure, JobRequest
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import Cause, State
from foreman.domain.synchronous import CLIENT_CLOSED_REQUEST, Told, status_of, words_of
from foreman.errors import JobNotFound, JobTerminal, StoreUnavailable
from foreman.queue.follower import Ended, Entry
from foreman.queue.live import Kind
from foreman.services.cancel import Canceller
from foreman.services.submit import Submitter
from foreman.services.watch import Watch, Watcher

log = logs.get_logger(__name__)

#: Seconds between two looks at whether the client still listens: its job must be over within two.
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """The next line of the answer in Ollama's form, as ``data`` and decoded; nothing follows the ``last``."""

    data: bytes
    value: dict[str, Any]
    last: bool


@dataclass(frozen=True, slots=True)
class Anew:
    """The upstream is asked again: what came before is void."""


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no answer, or no more of it; ``status`` is for a client that has been sent nothing yet."""

    status: int
    message: str


_LEFT = Failed(CLIENT_CLOSED_REQUEST, "the client closed the connection")
_STOPPING = Failed(HTTPStatus.SERVICE_UNAVAILABLE, "foreman is stopping; try again")
_GONE = Failed(HTTPStatus.INTERNAL_SERVER_ERROR, "the job was deleted before it was answered")
_UNREADABLE = Failed(HTTPStatus.SERVICE_UNAVAILABLE, "the answer is stored, and cannot be read now: see the job")
_NOT_TAKEN_BACK = Failed(
    HTTPStatus.BAD_GATEWAY, "the upstream failed in the middle of its answer, and what was sent cannot be taken back"
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where synchronous calls become jobs."""

    submitter: Submitter
    watcher: Watcher
    canceller: Canceller
    places: Places
    #: Set when this process is asked to stop: who has been sent nothing is sent elsewhere.
    stopping: threading.Event

    def begin(self, req: falcon.Request, request: JobRequest) -> Conversation:
        """Submit a job and wait for it with its client; close what is returned.

        Raises:
            HTTPProblem, QueueFull, AllowanceUsedUp, StoreUnavailable: nothing was accepted.
        """
        place = self.places.take()
        try:
            job = self.submitter.submit(request, None, caller_of(req)).job
            return Conversation(self, job, self.watcher.watch_new(job), Client.of(req), place)
        except BaseException:
            place.leave()
            raise


class Conversation:
    """The answer to one client, line by line; belongs to one thread. Closed before its end, it cancels the job."""

    def __init__(self, desk: Desk, job: Job, watch: Watch, client: Client, place: Place) -> None:
        self.job = job
        #: Set once the client has been sent something, which cannot be taken back.
        self.committed = False
        self._desk = desk
        self._watch = watch
        self._client = client
        self._place = place
        self._told = Told()
        self._gap = False
        self._over = False

    def next(self) -> Line | Anew | Failed:
        """What comes next, as soon as it is there; a failure is the end, as is the last line."""
        while True:
            if self._client.gone():
                return self._give_up(_LEFT, Cause.CLIENT_DISCONNECTED)
            if self._desk.stopping.is_set() and not self.committed:
                return self._give_up(_STOPPING, Cause.CANCELLED)
            outcome = self._judge(self._watch.next(LOOK_S))
            if outcome is not None:
                return outcome

    def close(self) -> None:
        """Watch no more, and leave the place to others; the job is cancelled unless it was answered to the end."""
        if not self._over:
            self._give_up(_LEFT, Cause.CLIENT_DISCONNECTED)
        self._watch.close()
        self._place.leave()

    def _judge(self, entry: Entry | Ended | None) -> Line | Anew | Failed | None:
        match entry:
            case Ended():
                return self._end(_GONE)
            case Entry(type=Kind.TEXT) if not self._gap:
                return self._line(entry.data)
            case Entry(type=Kind.GAP):
                # Without what is missing here the rest is worth nothing; the whole will be in the artifact.
                self._gap = True
            case Entry(type=Kind.RESTART) if self.committed:
                error = json.loads(entry.data).get("error")
                return self._give_up(self._failed(error) if error else _NOT_TAKEN_BACK, Cause.CANCELLED)
            case Entry(type=Kind.RESTART):
                self._gap = False
                self._told = Told()
                return Anew()
            case Entry(type=Kind.STATE):
                return self._state(json.loads(entry.data))
            case _:
                pass
        return None

    def _line(self, data: bytes) -> Line:
        value: dict[str, Any] = json.loads(data)
        self._told.add(value)
        self._over = value.get("done") is True
        return Line(data, value, last=self._over)

    def _state(self, data: dict[str, Any]) -> Line | Failed | None:
        match State(data["state"]):
            case State.DONE:
                return self._rest()
            case State.FAILED:
                return self._end(self._failed(data["error"]))
            case _:
                return None

    def _failed(self, error: dict[str, Any]) -> Failed:
        """What a client is told of an ``error`` as ``JobFailure.as_json`` writes it."""
        failure = JobFailure(Cause(error["code"]), error["message"], error.get("upstream_status"))
        return Failed(status_of(failure), words_of(failure, self.job.model))

    def _rest(self) -> Line | Failed:
        """What the stream did not have of the answer, or at least its last line."""
        whole = self._desk.watcher.completion(self.job.id)
        if whole is None:
            return self._end(_UNREADABLE)
        return self._line(compact(self._told.rest(json.loads(whole))))

    def _end(self, failed: Failed) -> Failed:
        self._over = True
        return failed

    def _give_up(self, failed: Failed, cause: Cause) -> Failed:
        self._over = True
        try:
            self._desk.canceller.cancel(self.job.id, cause)
        except (JobNotFound, JobTerminal):
            pass
        except StoreUnavailable as error:
            log.warning("job not cancelled", job_id=self.job.id, code=str(cause), reason=str(error))
        return failed
