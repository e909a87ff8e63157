"""Who is told that a job has moved: its webhook's senders by a message, who watches it by the live stream, the tally.

These are hints: the event is committed with the move, and the sweep finds it if the message is lost. The log is told of
failures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreman import logs
from foreman.domain import metric
from foreman.domain.job import Job, Moment
from foreman.domain.lifecycle import TERMINAL, State
from foreman.queue import messages
from foreman.queue.live import Publisher
from foreman.queue.messages import Messenger
from foreman.tally import Tally

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Announcer:
    """Tells of a move after it was committed; never raises for Redis's sake."""

    messenger: Messenger
    live: Publisher
    tally: Tally

    def accepted(self, jobs: Sequence[Job]) -> None:
        """``jobs`` are new, and ready to run: whoever runs and announces them is told in one round trip."""
        for job in jobs:
            self._tell(job, 1)
        called = [messages.deliver(job.id) for job in jobs if job.webhook is not None]
        self.messenger.send_all([messages.run(job.id) for job in jobs] + called)

    def announce(self, job: Job | None, steps: int = 1) -> None:
        """``job`` has just reached its last ``steps`` states; ``None``, "nothing moved", is passed over."""
        if job is None:
            return
        if job.failure is not None:
            log.info("job failed", job_id=job.id, code=str(job.failure.code), attempt=job.attempt)
        self._tell(job, steps)
        if job.webhook is not None:
            self.messenger.send(messages.deliver(job.id))

    def _tell(self, job: Job, steps: int) -> None:
        """Whoever watches, and the tally."""
        for sequence in range(len(job.reached) - steps + 1, len(job.reached) + 1):
            state, at = job.reached[sequence - 1]
            self.live.state(job.id, state, at=at, sequence=sequence, attempt=job.attempt, failure=job.failure)
            self._count(job, state, at)

    def _count(self, job: Job, state: State, at: Moment) -> None:
        match state:
            case State.QUEUED:
                self.tally.count(metric.SUBMITTED, job.priority.label)
            case State.LOADING:
                self.tally.observe(metric.WAITED, (at - job.created_at) / 1000, job.priority.label)
            case State.DONE:
                self.tally.count(metric.DONE)
            case State.FAILED if job.failure is not None:
                self.tally.count(metric.FAILED, str(job.failure.code))
            case _:
                pass
        if state in TERMINAL:
            self.tally.observe(metric.LASTED, (at - job.created_at) / 1000, str(state))
