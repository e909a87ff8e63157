"""Holding an answer back until a job ends, without taking the threads that submissions need."""

from __future__ import annotations

import threading

from foreman.clock import monotonic
from foreman.domain.lifecycle import TERMINAL
from foreman.errors import StoreUnavailable
from foreman.store.jobs import Jobs

#: Seconds: the longest that a client may ask an answer to be held; contract sections 1 and 2. More is cut to it.
MAX_WAIT_S = 60

#: First and longest pause between looks at the job, seconds, and how they grow. A short job is seen at once, and half
#: of 64 threads all waiting make 128 small reads a second.
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.01, 0.25, 1.5


class WaitingRoom:
    """``places`` threads may wait at once; the next is answered with what is so. ``stopping`` ends all waits."""

    def __init__(self, jobs: Jobs, places: int, stopping: threading.Event) -> None:
        self._jobs = jobs
        self._places = threading.BoundedSemaphore(places) if places else None
        self._stopping = stopping

    def until_ended(self, job_id: str, wait_s: float) -> bool:
        """Wait until the job has ended or is gone, or the time is up; False: there was no place to wait."""
        if self._places is None or not self._places.acquire(blocking=False):
            return False
        try:
            self._wait(job_id, monotonic() + wait_s)
        finally:
            self._places.release()
        return True

    def _wait(self, job_id: str, deadline: float) -> None:
        pause_s = FIRST_PAUSE_S
        while self._lives(job_id) and (left_s := deadline - monotonic()) > 0:
            if self._stopping.wait(min(pause_s, left_s)):
                return
            pause_s = min(pause_s * GROWTH, LONGEST_PAUSE_S)

    def _lives(self, job_id: str) -> bool:
        try:
            state = self._jobs.state(job_id)
        except StoreUnavailable:
            # A wait outlives a blip of the database; whoever waited reads the job afterwards, and is told then.
            return True
        return state is not None and state not in TERMINAL
