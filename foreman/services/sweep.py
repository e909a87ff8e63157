"""Finds what should have been picked up and was not, and sends its message again: Redis may forget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain.lifecycle import TERMINAL
from foreman.domain.metric import SWEPT
from foreman.queue import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Moment
    from foreman.queue.announcer import Announcer
    from foreman.store.artifacts import Artifacts
    from foreman.store.claims import Claims
    from foreman.store.endings import Endings
    from foreman.store.events import Events
    from foreman.store.origins import Origins

log = logs.get_logger(__name__)

#: How long a message has to arrive by itself before the sweep repeats it, milliseconds: many times what it takes.
GRACE_MS = 1000

#: Messages of one kind that may wait for a worker before the sweep adds none: enough for every thread there is, and
#: what is left over is found by the next sweep.
BACKLOG = 200

#: Batches of jobs that missed their start deadline which one sweep fails, of 200 each: a claim steps over those that
#: are left, so no more may be left than come due in a moment, and a sweep must end before the next but one.
LATE_ROUNDS = 10

#: Jobs whose events one sweep gives up at most: a transaction each.
HOPELESS = 200


@dataclass(slots=True)
class Sweeper:
    """What the periodic actor ``sweep`` does."""

    claims: Claims
    artifacts: Artifacts
    events: Events
    endings: Endings
    origins: Origins
    announcer: Announcer
    max_worker_losses: int
    #: How long events wait for an origin whose circuit does not close before they are dead: ``webhook.give_up_s``.
    give_up_ms: int
    #: The origin with which the last look for due events ended; the next one goes on behind it.
    _after: str = field(default="", init=False)

    def sweep(self) -> int:
        """End what is overdue, take back lost claims and repeat what was not picked up; returns how many messages."""
        self._lost_workers()
        self._late_starts()
        self._unplaceable()
        self._hopeless_events()
        before = clock.now() - GRACE_MS
        found = [
            *(messages.persist(each) for each in self.artifacts.waiting(before, self._room(messages.PERSIST))),
            *(messages.deliver(each) for each in self._undelivered(before, self._room(messages.DELIVER))),
            *(
                messages.run(each)
                for each in self.claims.ready(before, min(self.claims.slots, self._room(messages.RUN)))
            ),
        ]
        if found:
            self.announcer.messenger.send_all(found)
        for message in found:
            self._found(message.address.actor)
        return len(found)

    def _found(self, what: str, by: int = 1) -> None:
        self.announcer.tally.count(SWEPT, what, by=by)

    def _undelivered(self, before: Moment, limit: int) -> Sequence[str]:
        """Half-open circuits first: nothing else brings the try that may close them. They get half of the room."""
        probes = self.origins.probes(clock.now(), -(-limit // 2))
        due = self.events.due(before, limit - len(probes), self._after)
        self._after = due.after
        return [*probes, *due.job_ids]

    def _hopeless_events(self) -> None:
        now = clock.now()
        before = now - self.give_up_ms
        given_up = [each for each in self.events.hopeless(before, HOPELESS) if self.events.give_up(each, before, now)]
        if given_up:
            log.warning("events given up: their origin did not come back", jobs=len(given_up))
            self._found("given_up", len(given_up))
        self.origins.forget(before)

    def _room(self, address: messages.Address) -> int:
        return self.announcer.messenger.room(address, BACKLOG)

    def _lost_workers(self) -> None:
        jobs = self.claims.expire(clock.now(), max_losses=self.max_worker_losses)
        for job in jobs:
            log.warning("worker lost", job_id=job.id, attempt=job.attempt, state=str(job.state))
            self._found("lost_worker")
            if job.state in TERMINAL:
                self.announcer.announce(job)
        self.announcer.messenger.send_all(messages.run(job.id) for job in jobs if job.state not in TERMINAL)

    def _late_starts(self) -> None:
        for _ in range(LATE_ROUNDS):
            late = self.endings.start_deadlines(clock.now())
            for job in late:
                self._found("late_start")
                self.announcer.announce(job)
            if not late:
                return

    def _unplaceable(self) -> None:
        for job in self.claims.unplaceable(clock.now()):
            self._found("unplaceable")
            self.announcer.announce(job)
