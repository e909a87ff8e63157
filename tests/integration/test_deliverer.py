from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from foreman.domain.address import Policy
from foreman.domain.delivery import Schedule
from foreman.domain.origin_health import Health
from foreman.net.webhooks import WebhookSender
from foreman.queue import messages
from foreman.services.deliver import Deliverer
from foreman.services.senders import Senders
from foreman.store import database
from foreman.store.models import OriginRow
from foreman.store.origins import Origins
from foreman.tally import Tally
from foreman.traces import Tracer
from tests.integration.api import Api, running_api
from tests.receiver import Received, Receiver, Reply, accept, always
from tests.stores import read_only

LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))


@dataclass
class Crew:
    """A deliverer on a real database and real sockets; messages are kept and not sent."""

    api: Api
    deliverer: Deliverer

    def submit(self, receiver: Receiver, count: int = 1) -> list[str]:
        """Jobs with one event each for ``receiver``."""
        ids = [self.api.submit(state_webhook_url=receiver.url) for _ in range(count)]
        self.api.messenger.sent.clear()
        return ids

    @property
    def woken(self) -> list[str]:
        """The jobs for which a message was sent."""
        return [message.args[0] for message in self.api.messenger.sent if message.address == messages.DELIVER]


class Unkept(Origins):
    """Every time that something is to be noted of an origin, the database has just become read-only."""

    def failed(self, origin: str, *args: Any, **kwargs: Any) -> Health:
        """Try to note it."""
        with read_only():
            return super().failed(origin, *args, **kwargs)

    def answered(self, origin: str) -> bool:
        """Try to note it."""
        with read_only():
            return super().answered(origin)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """Four senders, two of them for doubtful tries; a failed try is made again after an hour."""
    with running_api(tmp_path) as api:
        api.rebuild(policy=LOOPBACK)
        deliverer = Deliverer(
            events=api.parts.events,
            origins=api.parts.origins,
            senders=Senders(4, 0.5),
            sender=WebhookSender(LOOPBACK, 5.0),
            messenger=api.messenger,
            schedule=Schedule((3600.0,), nonterminal_retries=1),
            secrets=(),
            user_agent="foreman/test",
            spread=0.0,
            stopping=threading.Event(),
            tally=Tally(),
            tracer=Tracer(),
        )
        yield Crew(api, deliverer)


def test_one_message_is_enough_for_all_that_an_origin_waits_for(crew: Crew) -> None:
    """A thread whose try succeeded goes on, so no message lost or doubled keeps an event waiting."""
    with Receiver() as receiver:
        ids = crew.submit(receiver, 5)
        assert crew.deliverer.deliver(ids[3]) is None
        got = [event["job_id"] for event in receiver.events]
        assert got[0] == ids[3]
        assert sorted(got) == ids
        assert crew.deliverer.deliver(ids[3]) is None


def test_the_first_answer_of_an_origin_wakes_senders_for_the_rest(crew: Crew) -> None:
    """It had one sender until then, whoever came, and those who came were sent away; that one goes on by itself."""
    with Receiver() as receiver:
        ids = crew.submit(receiver, 4)
        crew.deliverer.deliver(ids[0])
        assert set(crew.woken) == set(ids[2:])


def test_a_failed_try_comes_back_as_its_message_or_as_one_of_its_own(crew: Crew) -> None:
    """Dramatiq repeats the message that it handles; another job's event gets a message that is as late."""
    with Receiver(always(500)) as receiver:
        first, second = crew.submit(receiver, 2)
        assert crew.deliverer.deliver(first) == 3600.0
        assert crew.woken == [second, second]
        crew.api.messenger.sent.clear()
        assert crew.deliverer.deliver(first) is None
        assert crew.woken == [second]


def test_a_process_that_stops_leaves_the_rest_to_others(crew: Crew) -> None:
    """What it has sent is recorded, and a message goes out for the next."""
    with Receiver() as receiver:
        ids = crew.submit(receiver, 3)
        crew.deliverer.stopping.set()
        assert crew.deliverer.deliver(ids[0]) is None
        assert len(receiver.requests) == 1
        assert ids[1] in crew.woken


def test_an_origin_that_was_refused_a_sender_is_woken_when_one_is_free(crew: Crew) -> None:
    """Two black holes hold the senders for doubtful tries; whoever ends first wakes the one that was sent away."""
    over = threading.Event()
    inside = threading.Semaphore(0)

    def hold(_request: Received) -> Reply:
        inside.release()
        over.wait(30)
        return 503, {}, b""

    with Receiver(hold) as one, Receiver(hold) as two, Receiver() as third:
        held = [crew.submit(receiver)[0] for receiver in (one, two)]
        [late] = crew.submit(third)
        threads = [threading.Thread(target=crew.deliverer.deliver, args=(each,)) for each in held]
        try:
            for thread in threads:
                thread.start()
                assert inside.acquire(timeout=30)
            assert crew.deliverer.deliver(late) is None
            assert third.requests == []
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
        assert late in crew.woken
        crew.deliverer.deliver(late)
        assert len(third.requests) == 1


def test_a_circuit_opens_and_closes_by_what_tries_come_to(crew: Crew) -> None:
    """Two failures in a row shut it; the probe that is answered lets everything out again."""
    crew.deliverer = replace(crew.deliverer, schedule=Schedule((0.0,) * 9, nonterminal_retries=9))
    with Receiver(always(503)) as receiver:
        ids = crew.submit(receiver, 3)
        for job_id in ids[:2]:
            assert crew.deliverer.deliver(job_id) == 0.0
        assert crew.deliverer.deliver(ids[2]) is None
        assert len(receiver.requests) == 2
        receiver.answer = accept
        with database.write():
            OriginRow.update(open_until=1).execute()  # its time is over
        assert crew.deliverer.deliver(ids[2]) is None
        assert crew.api.parts.origins.of_note(0, 9) == []
        assert sorted(event["job_id"] for event in receiver.events[2:]) == ids


def test_a_database_that_goes_away_after_the_record_does_not_keep_the_next_event(crew: Crew) -> None:
    """It is claimed in the transaction of the record, and nobody else would send it before its lease ended."""
    unkept = Unkept(crew.api.parts.origins.policy)
    with Receiver(always(503)) as receiver:
        ids = crew.submit(receiver, 3)
        assert crew.deliverer.deliver(ids[0]) == 3600.0
        receiver.answer = accept
        crew.deliverer = replace(crew.deliverer, origins=unkept)
        assert crew.deliverer.deliver(ids[1]) is None
        assert [event["job_id"] for event in receiver.events[1:]] == ids[1:]


def test_a_database_that_goes_away_after_the_record_does_not_change_when_it_is_tried_again(crew: Crew) -> None:
    """The wait is the schedule's, and not that of a message that failed."""
    crew.deliverer = replace(crew.deliverer, origins=Unkept(crew.api.parts.origins.policy))
    with Receiver(always(503)) as receiver:
        [job_id] = crew.submit(receiver)
        assert crew.deliverer.deliver(job_id) == 3600.0
