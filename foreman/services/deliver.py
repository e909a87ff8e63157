"""Announces a job's states to its receiver: in order, at least once, whatever the receiver does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain import event, metric
from foreman.domain.came_with import trace_header
from foreman.domain.delivery import Delivered, RetryIn, Schedule, decide, is_success
from foreman.domain.origin_health import Circuit, is_down
from foreman.domain.sender_shares import pace_after
from foreman.errors import StaleLease
from foreman.queue import messages

if TYPE_CHECKING:
    import threading

    from foreman.domain.delivery import Attempt, Decision
    from foreman.net.webhooks import WebhookSender
    from foreman.queue.messages import Messenger
    from foreman.services.senders import Senders
    from foreman.store.events import Events, Sending
    from foreman.store.origins import Origins
    from foreman.tally import Tally
    from foreman.traces import Facts, Tracer

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """What the actor ``deliver`` does."""

    events: Events
    origins: Origins
    senders: Senders
    sender: WebhookSender
    messenger: Messenger
    schedule: Schedule
    secrets: tuple[bytes, ...]
    user_agent: str
    #: Half width of the jitter of waits between tries, and of circuits: 0.2 is ±20 %.
    spread: float
    #: Set when this process is asked to stop: what is still due is left to others.
    stopping: threading.Event
    tally: Tally
    tracer: Tracer

    def deliver(self, job_id: str) -> float | None:
        """Send the job's due events, and then what else its origin waits for, until nothing is left or a try fails.

        Returns the seconds after which to call again because a try of this job failed; None if there is nothing to come
        back for.
        """
        at = job_id
        while True:
            with self.senders.seat() as seat:
                now = clock.now()
                sending = self.events.claim(at, now, seat.take, beside=True)
                if sending is None:
                    return None
                delay_s = self._try(sending)
            if not self._may_go_on(sending.origin) or delay_s is not None:
                self._wake(sending.origin)
                return self._come_back(sending.job_id, delay_s, job_id)
            at = sending.job_id

    def _try(self, sending: Sending) -> float | None:
        logs.bind(job_id=sending.job_id, request_id=sending.came_with.request_id)
        attempt = self._send(sending)
        decision = decide(
            attempt,
            tries=sending.tries,
            terminal=sending.terminal,
            schedule=self.schedule,
            jitter=clock.jitter(self.spread),
            now=clock.now(),
        )
        try:
            self.events.record(sending, attempt, decision, clock.now())
        except StaleLease:
            log.warning("delivery outlived its lease", job_id=sending.job_id, state=str(sending.state))
            return None
        self._count(sending, attempt, decision)
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
        self._learn(sending, attempt)
        return decision.delay_s if isinstance(decision, RetryIn) else None

    def _send(self, sending: Sending) -> Attempt:
        facts: Facts = {"job_id": sending.job_id, "state": str(sending.state), "attempt": sending.attempt}
        with self.tracer.step("deliver", sending.came_with.traceparent, facts, calls=True) as span:
            headers = event.event_headers(
                sending.event_id,
                sending.body,
                secrets=self.secrets,
                now=clock.now(),
                attempt=sending.attempt,
                sequence=sending.sequence,
                user_agent=self.user_agent,
            )
            attempt = self.sender.send(sending.url, headers | trace_header(span.traceparent), sending.body)
            span.tell(status=attempt.status)
            if not is_success(attempt.status):
                span.failed(attempt.error or f"status {attempt.status}")
            return attempt

    def _count(self, sending: Sending, attempt: Attempt, decision: Decision) -> None:
        outcome = "retry" if isinstance(decision, RetryIn) else type(decision).__name__.lower()
        self.tally.count(metric.DELIVERIES, outcome)
        self.tally.observe(metric.TRIED, attempt.duration_ms / 1000, outcome)
        if isinstance(decision, Delivered):
            self.tally.observe(metric.LAG, (clock.now() - sending.created_at) / 1000)

    def _learn(self, sending: Sending, attempt: Attempt) -> None:
        """What the try says of its origin, for the tries of others."""
        wakes = self.senders.learn(sending.origin, pace_after(attempt))
        down = is_down(attempt)
        if down:
            health = self.origins.failed(sending.origin, attempt, jitter=clock.jitter(self.spread), now=clock.now())
            if health.circuit(clock.now()) is Circuit.OPEN:
                log.warning("circuit open", origin=sending.origin, failures=health.failures, until=health.open_until)
        elif down is not None and sending.doubted and self.origins.answered(sending.origin):
            log.info("circuit closed", origin=sending.origin)
            wakes = True
        if wakes:
            # It had one sender, and now there is room for as many as its cap allows.
            self._wake(sending.origin, self.events.origin_limit)

    def _may_go_on(self, origin: str) -> bool:
        """Whether this thread may take its origin's next event: no other was refused a sender, and nobody stops us."""
        turned_away = self.senders.turned_away()
        if turned_away is not None:
            self._wake(turned_away)
        return turned_away in {None, origin} and not self.stopping.is_set()

    def _wake(self, origin: str, count: int = 1) -> None:
        """Have ``count`` senders look at the origin: there is room for that many more of its tries."""
        due = self.events.next_due(origin, clock.now(), count)
        if due:
            self.messenger.send_all(messages.deliver(each) for each in due)

    def _come_back(self, tried: str, delay_s: float | None, asked: str) -> float | None:
        """A retry is Dramatiq's, of the message that it handles; one for another job is a message of its own."""
        if delay_s is None or tried == asked:
            return delay_s
        self.messenger.send(messages.deliver(tried), round(delay_s * 1000))
        return None
