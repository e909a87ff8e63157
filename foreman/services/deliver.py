"""Announces a job's states to its receiver: in order, at least once, whatever the receiver does."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain import event, metric
from foreman.domain.came_with import trace_header
from foreman.domain.delivery import Delivered, RetryIn, Schedule, Stopped, decide, is_success
from foreman.domain.origin_health import Circuit, is_down
from foreman.domain.sender_shares import pace_after
from foreman.errors import StaleLease, StoreUnavailable
from foreman.net.webhooks import Kept
from foreman.queue import messages

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from foreman.domain.delivery import Attempt, Decision
    from foreman.net.webhooks import WebhookSender
    from foreman.queue.messages import Messenger
    from foreman.services.senders import Seat, Senders
    from foreman.store.events import Events, Sending
    from foreman.store.origins import Origins
    from foreman.tally import Tally
    from foreman.traces import Facts, Tracer

log = logs.get_logger(__name__)


#: Seconds for which a thread stays with one origin while others were refused a sender: some twenty tries of a receiver
#: that answers at once, so that a message for each of them is not what sending costs; and short beside the second in
#: which a healthy receiver is to have its events.
STAY_S = 0.1


@dataclass(frozen=True, slots=True)
class _Ended:
    """What follows from a try: the event that the thread tries next, or the seconds until this one is tried again."""

    then: Sending | None = None
    delay_s: float | None = None


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

        Or until the thread has stayed for ``STAY_S`` while another origin was refused a sender.
        Returns the seconds after which to call again because a try of this job failed; None if there is nothing to come
        back for.
        """
        stays_until = clock.monotonic() + STAY_S
        with self.senders.seat() as seat, Kept() as kept:
            sending = self.events.claim(job_id, clock.now(), seat.take, beside=True)
            if sending is None:
                return None
            while (ended := self._try(sending, seat, kept, stays_until)).then is not None:
                sending = ended.then
        with _unless_away(sending):
            self._make_way(sending.origin)
        return self._come_back(sending.job_id, ended.delay_s, job_id)

    def _try(self, sending: Sending, seat: Seat, kept: Kept, stays_until: float) -> _Ended:
        """One try, its record, and in the same transaction the claim of what this thread sends next."""
        logs.bind(job_id=sending.job_id, request_id=sending.came_with.request_id)
        attempt = self._send(sending, kept)
        decision = decide(
            attempt,
            tries=sending.tries,
            terminal=sending.terminal,
            schedule=self.schedule,
            jitter=clock.jitter(self.spread),
            now=clock.now(),
        )
        answers_now = self.senders.learn(sending.origin, pace_after(attempt))
        # Where a try failed it is first noted what that says of the origin.
        goes_on = isinstance(decision, Delivered | Stopped) and self._may_go_on(sending.origin, stays_until)
        try:
            then = self.events.record(sending, attempt, decision, clock.now(), seat.take if goes_on else None)
        except StaleLease:
            log.warning("delivery outlived its lease", job_id=sending.job_id, state=str(sending.state))
            return _Ended()
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
        self._tell(sending, attempt, answers_now=answers_now)
        return _Ended(then, decision.delay_s if isinstance(decision, RetryIn) else None)

    def _send(self, sending: Sending, kept: Kept) -> Attempt:
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
            attempt = self.sender.send(sending.url, headers | trace_header(span.traceparent), sending.body, kept)
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

    def _tell(self, sending: Sending, attempt: Attempt, *, answers_now: bool) -> None:
        """What the try says of its origin, for all processes, and who is woken for that."""
        with _unless_away(sending):
            if self._closes(sending, attempt) or answers_now:
                # It had one sender, and now there is room for as many as its cap allows.
                self._wake(self.events.next_due(sending.origin, clock.now(), self.events.origin_limit))

    def _closes(self, sending: Sending, attempt: Attempt) -> bool:
        """Note what the try says of its origin for all processes; whether its circuit has closed by that."""
        down = is_down(attempt)
        if down:
            health = self.origins.failed(sending.origin, attempt, jitter=clock.jitter(self.spread), now=clock.now())
            if health.circuit(clock.now()) is Circuit.OPEN:
                log.warning("circuit open", origin=sending.origin, failures=health.failures, until=health.open_until)
        elif down is not None and sending.doubted and self.origins.answered(sending.origin):
            log.info("circuit closed", origin=sending.origin)
            return True
        return False

    def _may_go_on(self, origin: str, stays_until: float) -> bool:
        """Whether this thread may take its origin's next event: nobody stops us, nobody waits for it too long."""
        return not self.stopping.is_set() and (clock.monotonic() < stays_until or not self.senders.others_wait(origin))

    def _make_way(self, origin: str) -> None:
        """This thread has left ``origin``: have others look at it again, and at who was refused a sender for it."""
        now = clock.now()
        origins = dict.fromkeys(each for each in (self.senders.turned_away(), origin) if each is not None)
        self._wake([job_id for each in origins for job_id in self.events.next_due(each, now)])

    def _wake(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            self.messenger.send_all(messages.deliver(each) for each in job_ids)

    def _come_back(self, tried: str, delay_s: float | None, asked: str) -> float | None:
        """A retry is Dramatiq's, of the message that it handles; one for another job is a message of its own."""
        if delay_s is None or tried == asked:
            return delay_s
        self.messenger.send(messages.deliver(tried), round(delay_s * 1000))
        return None


@contextmanager
def _unless_away(sending: Sending) -> Iterator[None]:
    """For what follows the record of a try: the next event may be claimed by now, and would be dropped by an error.

    The next try of the origin tells as much of it, and whoever was not woken is found by the sweep.
    """
    try:
        yield
    except StoreUnavailable as error:
        log.warning("delivery recorded, its origin not looked at", job_id=sending.job_id, reason=str(error))
