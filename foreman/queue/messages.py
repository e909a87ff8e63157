"""Every message foreman sends: its queue, its actor and its arguments, and how it is sent without importing an actor.

A message is a hint that there is something to do. It carries an id and never a payload: what is to be done stands in
the database, so a message that comes twice, late or never does no harm (a sweep sends what was missed).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dramatiq
from dramatiq.errors import BrokerConnectionError

from foreman import clock
from foreman.queue.broker import WakingRedisBroker
from foreman.queue.circuit import Circuit
from foreman.queue.outage import Outage
from foreman.rounds import Rounds

#: Messages of several threads that one of them sends together: more than a process has threads.
_ROUND = 500

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a kind of message goes: the actor's declared name, and the queue that the actor reads."""

    queue: str
    actor: str


#: A permit to run one job: whichever is best when a slot is free. Argument: the job that it was sent for.
RUN = Address("jobs", "run")
#: The job's completion is committed and waits to be stored as an artifact. Argument: the job.
PERSIST = Address("artifacts", "persist")
#: The job has an event that is due. Argument: the job.
DELIVER = Address("webhooks", "deliver")
#: Send again what should have been picked up and was not.
SWEEP = Address("periodic", "sweep")
#: Remove what has expired.
PRUNE = Address("periodic", "prune")
#: Look at the upstreams.
PROBE = Address("periodic", "probe")

#: Every kind there is; a test holds each to an actor.
ADDRESSES: tuple[Address, ...] = (RUN, PERSIST, DELIVER, SWEEP, PRUNE, PROBE)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send; ``args`` are the actor's positional arguments."""

    address: Address
    args: tuple[str, ...] = ()


def run(job_id: str) -> Message:
    """Let some job run; ``job_id`` is the one that is known to wait."""
    return Message(RUN, (job_id,))


def persist(job_id: str) -> Message:
    """Store the job's committed completion and make it ``done``."""
    return Message(PERSIST, (job_id,))


def deliver(job_id: str) -> Message:
    """Send the job's due events, in order."""
    return Message(DELIVER, (job_id,))


def sweep() -> Message:
    """Look for work whose message was lost."""
    return Message(SWEEP)


def prune() -> Message:
    """Remove expired jobs and their artifacts."""
    return Message(PRUNE)


def probe() -> Message:
    """Look at every upstream."""
    return Message(PROBE)


class Messenger:
    """Sends messages and survives Redis: a send never raises for its sake, nor holds the caller much over a second.

    Once a send fails, those of the next second return at once (``circuit.py``). Safe to share between threads and to
    create before a fork.
    """

    def __init__(self, broker: WakingRedisBroker, *, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._broker = broker
        outage = Outage(_logger, "Messages are not sent; the sweep will send them again")
        self._circuit = Circuit(outage, BrokerConnectionError, monotonic=monotonic)
        self._rounds = Rounds(self._send, _ROUND)

    @property
    def broken(self) -> bool:
        """Whether the last that was sent did not arrive: somebody is going to find out whether Redis is back."""
        return self._circuit.broken

    def send(self, message: Message, delay_ms: int | None = None) -> bool:
        """Send one message, to be handled ``delay_ms`` from now at the earliest (``None``: at once; at most 7 days).

        ``False``: Redis is away. The message may still have arrived, if Redis died just after taking it.
        """
        if delay_ms is None:
            return self.send_all((message,))
        return self._circuit.attempt(lambda: self._broker.enqueue(_for_dramatiq(message), delay=delay_ms))

    def send_all(self, messages: Iterable[Message]) -> bool:
        """Send many messages for now in one round trip, which threads that send at once share.

        ``False``: Redis is away, and any number of them was not sent.
        """
        given = tuple(messages)
        if not self.broken:
            return self._rounds.ask(given)
        # While Redis is away nobody waits for whoever finds out whether it is back.
        return self._send([given])[0]

    def _send(self, given: Sequence[Sequence[Message]]) -> Sequence[bool]:
        """Send what several threads have given, all of it or an unknown part."""
        made = [_for_dramatiq(message) for messages in given for message in messages]
        return [self._circuit.attempt(lambda: self._broker.enqueue_all(made))] * len(given)

    def room(self, address: Address, limit: int) -> int:
        """How many messages may be added before ``limit`` of them wait for a worker; 0 when Redis is away.

        For whoever repeats messages: repeated without looking, they would pile up while no worker takes them.
        """
        found: list[int] = []
        self._circuit.attempt(lambda: found.append(self._broker.count_waiting(address.queue)))
        return max(0, limit - found[0]) if found else 0


def _for_dramatiq(message: Message) -> dramatiq.Message[None]:
    address = message.address
    return dramatiq.Message(
        queue_name=address.queue, actor_name=address.actor, args=message.args, kwargs={}, options={}
    )
