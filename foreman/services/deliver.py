"""Announces a job's states to its receiver: in order, at least once, whatever the receiver does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain import event
from foreman.domain.delivery import RetryIn, Schedule, decide
from foreman.errors import StaleLease
from foreman.queue import messages

if TYPE_CHECKING:
    from foreman.net.webhooks import WebhookSender
    from foreman.queue.messages import Messenger
    from foreman.store.events import Events, Sending

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """What the actor ``deliver`` does."""

    events: Events
    sender: WebhookSender
    messenger: Messenger
    schedule: Schedule
    secrets: tuple[bytes, ...]
    user_agent: str
    #: Half width of the jitter of waits between tries: 0.2 is ±20 %.
    spread: float

    def deliver(self, job_id: str) -> float | None:
        """Send the job's due events until none is left or one fails.

        Returns the seconds after which to call again because a try failed; None if there is nothing to come back for.
        """
        while (sending := self.events.claim(job_id, clock.now())) is not None:
            try:
                delay_s = self._try(sending)
            except StaleLease:
                log.warning("delivery outlived its lease", job_id=job_id, state=str(sending.state))
                return None
            self._wake_next(sending)
            if delay_s is not None:
                return delay_s
        return None

    def _try(self, sending: Sending) -> float | None:
        headers = event.event_headers(
            sending.event_id,
            sending.body,
            secrets=self.secrets,
            now=clock.now(),
            attempt=sending.attempt,
            sequence=sending.sequence,
            user_agent=self.user_agent,
        )
        attempt = self.sender.send(sending.url, headers, sending.body)
        decision = decide(
            attempt,
            tries=sending.tries,
            terminal=sending.terminal,
            schedule=self.schedule,
            jitter=clock.jitter(self.spread),
            now=clock.now(),
        )
        self.events.record(sending, attempt, decision, clock.now())
        log.info(
            "webhook tried",
            job_id=sending.job_id,
            state=str(sending.state),
            attempt=sending.attempt,
            status=attempt.status,
            error=attempt.error,
            outcome=type(decision).__name__.lower(),
            duration_ms=attempt.duration_ms,
        )
        return decision.delay_s if isinstance(decision, RetryIn) else None

    def _wake_next(self, sending: Sending) -> None:
        """The origin has room again: another job's message may have come while it had none."""
        waiting = self.events.next_due(sending.origin, clock.now())
        if waiting is not None and waiting != sending.job_id:
            self.messenger.send(messages.deliver(waiting))
