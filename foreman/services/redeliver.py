"""Sends events again: one that somebody asks for, or all that died while their receivers were away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.queue import messages

if TYPE_CHECKING:
    from foreman.domain.lifecycle import State
    from foreman.domain.webhook_order import Recovery
    from foreman.queue.messages import Messenger
    from foreman.store.redelivery import Redelivery

log = logs.get_logger(__name__)

#: Events made pending in one transaction. Measured on SQLite: 0.16 ms of processor time each, so that its other writers
#: wait for 16 ms.
BATCH = 100

#: Messages that may wait for a sender before a recovery adds none. Who ends a try wakes the next job of its origin, and
#: the sweep finds the rest; tens of thousands at once would hold up the events of other receivers.
BACKLOG = 200


@dataclass(frozen=True, slots=True)
class Redeliverer:
    """What the routes that redeliver and recover do."""

    redelivery: Redelivery
    messenger: Messenger

    def redeliver(self, job_id: str, state: State) -> None:
        """Send the event of one state again: the same id and bytes, signed anew.

        Raises:
            EventNotFound, EventSkipped, JobGone, StoreUnavailable: nothing was changed.
        """
        self.redelivery.redeliver(job_id, state, clock.now())
        log.info("event redelivered", job_id=job_id, state=str(state))
        self.messenger.send(messages.deliver(job_id))

    def recover(self, wanted: Recovery) -> int:
        """Send dead events again, in batches that are committed one by one; returns how many events they were.

        Raises:
            StoreUnavailable: what was committed before stays; asking again does the rest.
        """
        recovered, place, more = 0, None, True
        while more:
            batch = self.redelivery.recover(wanted.since, wanted.origin, clock.now(), place=place, limit=BATCH)
            recovered, place, more = recovered + batch.events, batch.place, batch.place is not None
            room = self.messenger.room(messages.DELIVER, BACKLOG) if batch.job_ids else 0
            if room:
                self.messenger.send_all(messages.deliver(job_id) for job_id in batch.job_ids[:room])
        log.info("events recovered", events=recovered, origin=wanted.origin)
        return recovered
