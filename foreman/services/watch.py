"""Watches one job until it has ended: what its live stream says, and what only the database still knows.

The stream is quick and may lose things; the database is slow and the truth. Whoever watches gets every state once and
in order from either, text as far as the stream has it, and can tell whether that was the whole of it.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from foreman import clock
from foreman.domain.job import Job, Moment
from foreman.domain.json_value import compact
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.moment import rfc3339
from foreman.errors import ArtifactNotFound, ArtifactStoreUnavailable, JobGone, JobNotFound, StoreUnavailable
from foreman.queue.follower import Ended, Entry, Follower
from foreman.queue.hub import Hub
from foreman.queue.live import Kind
from foreman.store.artifacts import Artifacts
from foreman.store.jobs import Jobs
from foreman.store.objects import Objects

#: Seconds of silence after which the database is asked: how late a state is seen while Redis is away. One small read a
#: second for each silent watcher.
LOOK_S = 1.0

#: Seconds for which the stream may stay silent about an end that the database knows of. It takes milliseconds; once it
#: is over the stream counts as lost, and the rest comes from the database.
PATIENCE_S = 0.5

#: How many states a job has reached when its text can begin.
_WORKING = State.WORKING.rank + 1

#: What is known of a run's text: some of it is missing, or it was given to its end.
_GAP, _WHOLE = "g", "w"

#: A place in the stream as ``follower.py`` writes it, how many states were given until there, and what of the text.
_ID = re.compile(rf"([0-9-]+)\.([0-9]{{1,2}})({_GAP}|{_WHOLE}|)", re.ASCII)

#: What the upstream's last line has in it, however it is spaced.
_DONE = re.compile(rb'"done"\s*:\s*true')


@dataclass(frozen=True, slots=True)
class Watcher:
    """Makes watches."""

    jobs: Jobs
    artifacts: Artifacts
    objects: Objects
    hub: Hub

    def watch(self, job_id: str, after: str | None = None) -> Watch:
        """Watch a job from the entry on whose ``id`` is ``after``; ``None``, or no id: from the beginning.

        Raises:
            JobNotFound, JobGone, StoreUnavailable: there is nothing to watch, now or at all.
        """
        found = _ID.fullmatch(after or "")
        place, seen, text = (found[1], int(found[2]), found[3]) if found else (None, 0, "")
        job = self.jobs.get(job_id)
        return Watch(job, self.jobs, self.hub.follow(job_id, place), seen, text)

    def watch_new(self, job: Job) -> Watch:
        """Watch a job that was just submitted, as it was then."""
        return Watch(job, self.jobs, self.hub.follow(job.id), seen=0, text="")

    def completion(self, job_id: str) -> bytes | None:
        """The native response object of a job that is done; ``None`` if it is gone, or cannot be read now."""
        try:
            artifact = self.artifacts.get(job_id, "completion")
            if artifact.data is not None or artifact.location is None:
                return artifact.data
            return b"".join(self.objects.read(artifact.location, 0, artifact.size_b))
        except (ArtifactNotFound, FileNotFoundError, ArtifactStoreUnavailable, StoreUnavailable):
            return None


class Watch:
    """One watcher's view of one job; belongs to one thread. Close it when nobody looks any more."""

    def __init__(self, job: Job, jobs: Jobs, follower: Follower, seen: int, text: str) -> None:
        self.job_id = job.id
        self._jobs = jobs
        self._follower = follower
        #: How many states were given, in this watch and those that it goes on from.
        self._seen = seen
        self._text = text
        self._place = str(follower.place)
        #: Whether it goes on from an earlier watch, which may have been given text.
        self.resumed = seen > 0
        self._due: deque[Entry] = deque()
        self._over = False
        #: The job, once the database has said that it has ended.
        self._ended = job if job.state in TERMINAL else None
        self._look_at_s = clock.monotonic() + (LOOK_S if self._ended is None else PATIENCE_S)
        if self.told_of_end:
            self._over = True
        else:
            self._give_states(job)

    @property
    def told_of_end(self) -> bool:
        """Whether the end had been seen before this watch began, so that there is nothing to watch."""
        return self._ended is not None and self._seen >= len(self._ended.reached)

    @property
    def whole(self) -> bool:
        """Whether all of the text was given, up to the line that says ``done``: asked when the job is done."""
        return self._text == _WHOLE

    def next(self, timeout_s: float) -> Entry | Ended | None:
        """The next entry; ``None`` if there was none for about ``timeout_s``, ``Ended`` after the terminal state."""
        if not self._due and not self._over:
            self._turn(timeout_s)
        if self._due:
            return self._due.popleft()
        return Ended() if self._over else None

    def close(self) -> None:
        """Watch no more."""
        self._follower.close()

    def _turn(self, timeout_s: float) -> None:
        entry = self._follower.next(timeout_s)
        match entry:
            case None:
                if clock.monotonic() >= self._look_at_s:
                    self._look()
            case Ended():
                self._over = True
            case Entry():
                self._look_at_s = clock.monotonic() + LOOK_S
                self._take(entry)

    def _take(self, entry: Entry) -> None:
        if entry.type is Kind.STATE:
            state = json.loads(entry.data)
            self._catch_up(state["sequence"] - 1)
            self._place = entry.id
            self._give_state(state)
            return
        if entry.type is Kind.TEXT:
            self._catch_up(_WORKING)
            if not self._text and _is_last(entry.data):
                self._text = _WHOLE
        else:
            self._text = _GAP if entry.type is Kind.GAP else ""
        self._place = entry.id
        self._due.append(replace(entry, id=self._id()))

    def _catch_up(self, sequence: int) -> None:
        """Give the states up to ``sequence`` that the stream has not told of."""
        if self._seen >= sequence:
            return
        try:
            job = self._jobs.get(self.job_id)
        except (JobNotFound, JobGone, StoreUnavailable):
            return
        self._give_states(job)

    def _look(self) -> None:
        """Nothing was heard for a while: ask the database."""
        self._look_at_s = clock.monotonic() + LOOK_S
        try:
            job = self._ended or self._jobs.get(self.job_id)
        except StoreUnavailable:
            return
        except (JobNotFound, JobGone):
            self._over = True
            return
        if self._ended is None and job.state in TERMINAL:
            self._ended = job
            self._look_at_s = clock.monotonic() + PATIENCE_S
            return
        self._give_states(job, end=True)
        self._over = self._ended is not None

    def _give_states(self, job: Job, *, end: bool = False) -> None:
        """Give what the database knows; of the ``end`` only where the stream, with the text before it, is over."""
        for number, (state, at) in enumerate(job.reached, start=1):
            if end or state not in TERMINAL:
                self._give_state(state_data(job, number, state, at))

    def _give_state(self, data: dict[str, Any]) -> None:
        """Give a state, unless it was given before: stream and database both tell of it."""
        if data["sequence"] > self._seen:
            self._seen = data["sequence"]
            self._due.append(Entry(self._id(), Kind.STATE, compact(data)))

    def _id(self) -> str:
        return f"{self._place}.{self._seen}{self._text}"


def _is_last(line: bytes) -> bool:
    """Whether the upstream says that it is done; most lines are passed over without being decoded."""
    return _DONE.search(line) is not None and json.loads(line).get("done") is True


def state_data(job: Job, sequence: int, state: State, at: Moment) -> dict[str, Any]:
    """A state as ``live.py`` writes it, from the job as it is now."""
    data: dict[str, Any] = {"state": str(state), "at": rfc3339(at), "sequence": sequence, "attempt": job.attempt}
    if state is State.FAILED and job.failure is not None:
        data["error"] = job.failure.as_json()
    return data
