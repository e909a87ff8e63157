from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator

import pytest
from dramatiq.brokers.redis import RedisBroker

from foreman.queue.messages import Messenger
from foreman.queue.retries import retry
from tests.queues import WORK, Engine, Handled, declare, eventually, fake_engine, valkey_engine, work, working
from tests.valkey import ValkeyServer

QUEUE = f"foreman:{WORK.queue}"

#: Long enough that a worker which gives a sign of life every second is never late, short enough to wait for.
SHORT_HEARTBEAT_MS = 4000


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """One server for all tests; each begins by emptying it."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["valkey", "fakeredis"])
def engine(request: pytest.FixtureRequest, valkey: ValkeyServer) -> Iterator[Engine]:
    """Every test runs on each."""
    made = valkey_engine(valkey) if request.param == "valkey" else fake_engine()
    yield made
    made.client.close()


def test_a_message_is_handled_once(engine: Engine) -> None:
    """Each message sent is handled, none twice, and nothing of it stays behind."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    with working(broker):
        messenger = Messenger(broker)
        sent = [f"{number}" for number in range(20)]
        assert all(messenger.send(work(item)) for item in sent)
        handled.wait_for(20)
        eventually(lambda: engine.client.hlen(f"{QUEUE}.msgs") == 0)
    assert sorted(handled.now()) == sorted(sent)


def test_messages_sent_together_all_arrive(engine: Engine) -> None:
    """A send of many spans several round trips and loses and repeats none."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    assert Messenger(broker).send_all(work(f"{number}") for number in range(1200))
    with working(broker):
        assert sorted(handled.wait_for(1200)) == sorted(f"{number}" for number in range(1200))


def test_a_delayed_message_is_handled_when_it_is_due(engine: Engine) -> None:
    """A delay is kept, neither cut short nor rounded up to the consumer's idle timeout."""
    broker, handled = engine.broker(), Handled()
    declare(broker, lambda: handled.add(f"{time.monotonic()}"))
    with working(broker):
        Messenger(broker).send(work(), delay_ms=1)  # what a first message costs is not the others' delay
        handled.wait_for(1)
        took_s = []
        for count in range(2, 7):
            sent_at = time.monotonic()
            Messenger(broker).send(work(), delay_ms=300)
            took_s.append(float(handled.wait_for(count)[-1]) - sent_at)
    assert 0.299 <= min(took_s) < 1


def test_delayed_messages_are_handled_in_the_order_they_are_due(engine: Engine) -> None:
    """A message that is due sooner overtakes those that were sent before it."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    with working(broker, threads=1):
        Messenger(broker).send(work("in an hour"), delay_ms=3_600_000)
        eventually(lambda: broker.custody(f"{WORK.queue}.DQ").count() == 1)
        Messenger(broker).send(work("soon"), delay_ms=150)
        assert handled.wait_for(1) == ["soon"]


def test_an_actor_that_asks_for_a_retry_is_called_again_after_the_delay(engine: Engine) -> None:
    """``raise retry(s)`` brings the same message back, no sooner than asked."""
    broker, handled = engine.broker(), Handled()

    def ask_once(item: str) -> None:
        first = not handled.now()
        handled.add(f"{item} {time.monotonic()}")
        if first:
            raise retry(0.2)

    declare(broker, ask_once)
    with working(broker):
        Messenger(broker).send(work("it"))
        (first_item, first_at), (item, at) = (entry.split() for entry in handled.wait_for(2))
    assert first_item == item == "it"
    assert float(at) - float(first_at) >= 0.199


def test_asking_for_a_retry_uses_up_none(engine: Engine) -> None:
    """An actor may ask for as many retries as it likes: attempts are counted in the database."""
    broker, handled = engine.broker(), Handled()

    def ask_often() -> None:
        handled.add()
        if len(handled.now()) < 25:
            raise retry(0)

    declare(broker, ask_often)
    with working(broker):
        Messenger(broker).send(work())
        handled.wait_for(25)


def test_an_actor_that_keeps_failing_ends_in_the_dead_letters(engine: Engine) -> None:
    """An error that nobody expected is tried again a few times, and then the message is kept to be looked at."""
    broker, handled = engine.broker(), Handled()

    def fail() -> None:
        handled.add()
        raise ZeroDivisionError

    declare(broker, fail, max_retries=2, min_backoff=10, max_backoff=20)
    with working(broker):
        Messenger(broker).send(work())
        handled.wait_for(3)
        eventually(lambda: engine.client.zcard(f"{QUEUE}.XQ") == 1)
    assert len(handled.now()) == 3


def test_what_is_not_a_message_goes_to_the_dead_letters(engine: Engine) -> None:
    """Rubbish in the queue neither stops the consumer nor comes back for ever."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    engine.client.hset(f"{QUEUE}.msgs", "rubbish", "{")
    engine.client.rpush(QUEUE, "rubbish")
    Messenger(broker).send(work("good"))
    with working(broker):
        assert handled.wait_for(1) == ["good"]
        eventually(lambda: engine.client.zrange(f"{QUEUE}.XQ", 0, -1) == [b"rubbish"])


def test_two_workers_share_one_queue(engine: Engine) -> None:
    """Two messages reach two workers of one thread each at the same time: neither worker hoards."""
    meeting = threading.Barrier(2, timeout=20)
    handled = Handled()

    def meet() -> None:
        meeting.wait()
        handled.add()

    brokers = engine.broker(), engine.broker()
    for broker in brokers:
        declare(broker, meet)
    with working(brokers[0], threads=1), working(brokers[1], threads=1):
        assert Messenger(brokers[0]).send_all([work(), work()])
        handled.wait_for(2)


def test_a_push_wakes_an_idle_worker(engine: Engine) -> None:
    """A message does not wait for a poll. A plain Dramatiq consumer takes 92 ms at best and 456 in the middle."""
    broker, handled = engine.broker(), Handled()
    declare(broker, lambda sent_at: handled.add(f"{time.monotonic() - float(sent_at)}"))
    with working(broker):
        for count in range(1, 22):
            Messenger(broker).send(work(f"{time.monotonic()}"))
            handled.wait_for(count)
    assert statistics.median(map(float, handled.now())) < 0.2


def test_an_ack_wakes_a_full_consumer(engine: Engine) -> None:
    """A consumer that may hold no more sleeps, and fetches as soon as one message is done with."""
    broker = engine.broker()
    broker.declare_queue(WORK.queue)
    Messenger(broker).send_all([work(f"{number}") for number in range(6)])
    consumer = broker.consume(WORK.queue, prefetch=1, timeout=60_000)
    held = next(consumer)
    waits_s, looks = [], 0
    for _ in range(5):
        assert held is not None
        acked = threading.Timer(0.1, consumer.ack, [held])
        began = time.monotonic()
        acked.start()
        while (held := next(consumer)) is None:
            looks += 1
        waits_s.append(time.monotonic() - began)
        acked.join()
    assert min(waits_s) < 0.8  # woken: by itself it looks after a second
    assert looks < 50  # and asleep until then


def test_a_lost_wake_up_only_costs_a_moment(engine: Engine) -> None:
    """A message that was pushed without a token, as a plain Dramatiq broker does, is found by the consumer itself."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    plain = RedisBroker(client=engine.client, namespace="foreman")  # type: ignore[no-untyped-call]  # untyped
    with working(broker):
        Messenger(broker).send(work("woken"))
        handled.wait_for(1)
        message = broker.get_actor(WORK.actor).message("unheard")
        plain.enqueue(message)
        assert handled.wait_for(2) == ["woken", "unheard"]


def test_wake_ups_without_a_message_are_harmless(engine: Engine) -> None:
    """A consumer that finds nothing clears the tokens that are left, and the next message is handled as ever."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    engine.client.rpush(f"{QUEUE}.wake", *["1"] * 100)
    assert next(broker.consume(WORK.queue, timeout=200)) is None
    assert engine.client.llen(f"{QUEUE}.wake") == 0
    with working(broker):
        Messenger(broker).send(work("it"))
        assert handled.wait_for(1) == ["it"]


def test_unheard_wake_ups_do_not_pile_up(engine: Engine) -> None:
    """There is a token per waiting message and no more, up to a bound, however many are pushed while nobody listens."""
    broker = engine.broker()
    messenger = Messenger(broker)
    messenger.send_all(work() for _ in range(3))
    assert engine.client.llen(f"{QUEUE}.wake") == 3
    messenger.send_all(work() for _ in range(1200))
    assert engine.client.llen(f"{QUEUE}.wake") == 1000


def test_a_dead_workers_messages_come_back(engine: Engine) -> None:
    """What a worker fetched and never acknowledged goes to another once its heartbeat has run out."""
    dead, broker, handled = engine.broker(), engine.broker(heartbeat_timeout_ms=SHORT_HEARTBEAT_MS), Handled()
    declare(broker, handled.add)
    Messenger(broker).send(work("orphan"))
    assert next(dead.consume(WORK.queue)) is not None
    with working(broker):
        assert handled.wait_for(1) == ["orphan"]


def test_a_busy_worker_is_not_taken_for_dead(engine: Engine) -> None:
    """A worker that is full, and so fetches nothing, still gives signs of life: its message is not handled twice."""
    busy, idle = (engine.broker(heartbeat_timeout_ms=SHORT_HEARTBEAT_MS) for _ in range(2))
    handled, done = Handled(), threading.Event()

    def toil() -> None:
        handled.add("begun")
        done.wait(20)

    declare(busy, toil)
    declare(idle, lambda: handled.add("twice"))
    with working(busy, threads=1):
        Messenger(busy).send(work())
        handled.wait_for(1)
        with working(idle):
            done.wait(1.6 * SHORT_HEARTBEAT_MS / 1000)
            done.set()
    assert handled.now() == ["begun"]


def test_a_fetch_whose_reply_was_lost_is_made_good(engine: Engine) -> None:
    """A message that Redis gave to this process and that never arrived is put back by the same process."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    Messenger(broker).send(work("lost"))
    broker.do_fetch(WORK.queue, 1)
    with working(broker):
        assert handled.wait_for(1) == ["lost"]


def test_an_idle_worker_stops_promptly(engine: Engine) -> None:
    """Nobody waits for a poll to time out before a deploy."""
    broker, handled = engine.broker(), Handled()
    declare(broker, handled.add)
    with working(broker) as stop:
        Messenger(broker).send(work())
        handled.wait_for(1)
        began = time.monotonic()
        stop()
        assert time.monotonic() - began < 4  # the grace is five


def test_a_stopped_worker_hands_back_what_it_did_not_finish(engine: Engine) -> None:
    """What is still being handled when the grace is over goes to another worker at once, not after a heartbeat."""
    stopping, other = engine.broker(), engine.broker()
    handled, done = Handled(), threading.Event()

    def hang() -> None:
        handled.add("begun")
        done.wait(20)

    declare(stopping, hang)
    declare(other, lambda: handled.add("taken over"))
    with working(stopping, threads=1, grace_s=0.2) as stop:
        Messenger(stopping).send(work())
        handled.wait_for(1)
        stop()
        began = time.monotonic()
        with working(other):
            assert handled.wait_for(2) == ["begun", "taken over"]
        assert time.monotonic() - began < 10  # the heartbeat would take 15 s
        done.set()


def test_a_stopped_worker_hands_back_its_delayed_messages(engine: Engine) -> None:
    """A message that waits in a worker's memory is still handled, when due, by another one."""
    stopping, other, handled = engine.broker(), engine.broker(), Handled()
    declare(stopping, lambda: handled.add("by the stopped one"))
    declare(other, lambda: handled.add("by the other"))
    with working(stopping):
        Messenger(stopping).send(work(), delay_ms=4000)
        eventually(lambda: stopping.custody(f"{WORK.queue}.DQ").count() == 1)
    with working(other):
        assert handled.wait_for(1) == ["by the other"]
