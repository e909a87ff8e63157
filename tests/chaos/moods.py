"""A receiver with moods: it fails, dawdles and hangs up by a seed, and remembers what came and what it did to it."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.chaos.judge import Arrival
from tests.receiver import Received, Reply

#: What the receiver does with a request: the status, or None to hang up without one; and the seconds before that.
Mood = Callable[[Arrival], tuple[int | None, float]]

#: How a request fares, in parts of a hundred; the rest is accepted at once. As many as one of three fail in some way.
FAILS, HANGS_UP, DAWDLES, TOO_LATE = 15, 8, 7, 2
#: Seconds before an answer that still comes in time, and longer than ``webhook.timeout_s`` of the suite.
DAWDLE_S, TOO_LATE_S = 0.2, 1.5

_FATES: tuple[tuple[int, tuple[int | None, float]], ...] = (
    (FAILS, (500, 0.0)),
    (HANGS_UP, (None, 0.0)),
    (DAWDLES, (200, DAWDLE_S)),
    (TOO_LATE, (200, TOO_LATE_S)),
)


def good(_arrival: Arrival) -> tuple[int | None, float]:
    """Accepts everything at once."""
    return 200, 0.0


def moody(seed: int) -> Mood:
    """Fails, hangs up, dawdles and answers too late, by a seed: the same for the same event and try."""

    def mood(arrival: Arrival) -> tuple[int | None, float]:
        dice = random.Random(f"{seed}{arrival.event_id}{arrival.attempt}").randrange(100)
        for share, fate in _FATES:
            if dice < share:
                return fate
            dice -= share
        return 200, 0.0

    return mood


@dataclass
class Witness:
    """A receiver's ``answer``. ``mood`` may be replaced at any time."""

    mood: Mood = good
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._arrivals: list[Arrival] = []
        self._accepted = 0
        self._lock = threading.Lock()

    @property
    def arrivals(self) -> list[Arrival]:
        """What came so far, in order; what is not answered yet has no status."""
        with self._lock:
            return list(self._arrivals)

    @property
    def accepted(self) -> int:
        """Requests that were answered 2xx so far."""
        with self._lock:
            return self._accepted

    def __call__(self, request: Received) -> Reply:
        """Note the request, do with it what the mood says, and note that."""
        if len(request.body) != int(request.headers["Content-Length"]):
            raise ConnectionAbortedError  # its sender died in the middle of it
        body = json.loads(request.body)
        came = Arrival(
            path=request.path,
            event_id=body["id"],
            job_id=body["job_id"],
            sequence=body["sequence"],
            state=body["state"],
            attempt=int(request.headers["X-Foreman-Attempt"]),
            digest=hashlib.sha256(request.body).hexdigest(),
            came_at_s=time.monotonic(),
            status=None,
            answered_at_s=None,
        )
        with self._lock:
            place = len(self._arrivals)
            self._arrivals.append(came)
        status, wait_s = self.mood(came)
        time.sleep(wait_s)
        if status is None:
            raise ConnectionAbortedError  # which closes the connection without an answer
        with self._lock:
            self._arrivals[place] = replace(came, status=status, answered_at_s=time.monotonic())
            self._accepted += self._arrivals[place].accepted
        return status, self.headers, b"noted"
