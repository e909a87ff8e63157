from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.queue.broker import WakingRedisBroker, make_broker
from foreman.queue.messages import Messenger
from foreman.queue.retries import retry
from foreman.queue.ticks import Tick, run
from tests.queues import WORK, Handled, declare, eventually, work, working
from tests.stores import together
from tests.valkey import ValkeyServer

DELAYED = f"{WORK.queue}.DQ"

#: Long enough that a worker which gives a sign of life every second is never late, short enough to wait for.
SHORT_HEARTBEAT_MS = 4000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that forgets everything when it is killed."""
    with ValkeyServer(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def lasting_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that is as it was after a restart."""
    with ValkeyServer(tmp_path / "valkey", append_only=True) as running:
        yield running


@pytest.fixture
def broker(server: ValkeyServer) -> Iterator[WakingRedisBroker]:
    """A broker on the forgetful server."""
    made = make_broker(server.url)
    yield made
    made.close()


def test_a_worker_survives_a_redis_that_comes_back_empty(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """Within seconds of Redis's return messages can be sent and are handled, by the same worker process."""
    handled = Handled()
    declare(broker, handled.add)
    with working(broker):
        messenger = Messenger(broker)
        assert messenger.send(work("before"))
        handled.wait_for(1)
        server.kill()
        assert not messenger.send(work("lost"))
        server.start()
        back_at = time.monotonic()
        eventually(lambda: messenger.send(work("after")))
        assert handled.wait_for(2) == ["before", "after"]
        assert time.monotonic() - back_at < 15


def test_sends_fail_fast_while_redis_is_away(
    server: ValkeyServer, broker: WakingRedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A submit neither fails nor waits for a Redis that refuses connections, and the log says so once."""
    messenger = Messenger(broker)
    assert messenger.send(work())
    server.kill()
    with caplog.at_level(logging.WARNING, logger="foreman.queue.messages"):
        began = time.monotonic()
        assert not any(messenger.send(work()) for _ in range(200))
        assert not messenger.send_all([work(), work()])
        assert time.monotonic() - began < 15  # a timeout each would be a hundred
        server.start()
        eventually(lambda: messenger.send(work()))
    assert ["away" in line for line in caplog.messages] == [True, False]


def test_a_frozen_redis_holds_one_sender_for_a_second_and_the_others_not(
    server: ValkeyServer, broker: WakingRedisBroker
) -> None:
    """A Redis that takes connections and never answers costs one timeout per pause, not one per message."""
    messenger = Messenger(broker)
    assert messenger.send(work())
    server.freeze()
    try:
        began = time.monotonic()
        assert not messenger.send(work())
        first_s = time.monotonic() - began
        assert not any(messenger.send(work()) for _ in range(50))
        others_s = time.monotonic() - began - first_s
    finally:
        server.thaw()
    assert first_s < 10
    assert others_s < 10  # a second each would be fifty


def test_senders_that_meet_a_frozen_redis_wait_for_it_once(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """Their messages go together: whoever waits for another's round does not wait for the same timeout after it."""
    messenger = Messenger(broker)
    assert messenger.send(work())
    server.freeze()
    try:
        began = time.monotonic()
        assert not any(together(20, lambda _: messenger.send(work())))
        took_s = time.monotonic() - began
    finally:
        server.thaw()
    assert took_s < 1.5 + 1.0


def test_a_frozen_redis_loses_no_message(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """What a worker was about to fetch when Redis stopped answering is handled afterwards, without a restart of it."""
    handled = Handled()
    declare(broker, handled.add)
    messenger = Messenger(make_broker(server.url))
    with working(broker), server.client() as client:
        sent = {f"{number}" for number in range(30)}
        assert messenger.send_all(work(item) for item in sent)
        server.freeze()
        threading.Event().wait(3.5)  # longer than any timeout of the worker's
        server.thaw()
        eventually(lambda: messenger.send(work("after")))
        eventually(lambda: set(handled.now()) == {*sent, "after"})
        eventually(lambda: client.hlen(f"foreman:{WORK.queue}.msgs") == 0)


def test_a_delayed_message_survives_a_redis_that_comes_back_empty(
    server: ValkeyServer, broker: WakingRedisBroker
) -> None:
    """A retry that a worker holds in memory is not given up because the server forgot it."""
    handled = Handled()
    declare(broker, handled.add)
    with working(broker):
        Messenger(broker).send(work("late"), delay_ms=4000)
        eventually(lambda: broker.custody(DELAYED).count() == 1)
        server.restart()
        assert handled.wait_for(1) == ["late"]


def test_a_delayed_message_that_falls_due_while_redis_is_away_is_handled_afterwards(
    server: ValkeyServer, broker: WakingRedisBroker
) -> None:
    """An outage makes a retry late and does not lose it."""
    handled = Handled()
    declare(broker, handled.add)
    with working(broker):
        Messenger(broker).send(work("late"), delay_ms=3000)
        eventually(lambda: broker.custody(DELAYED).count() == 1)
        server.kill()
        threading.Event().wait(3.2)
        assert handled.now() == []
        server.start()
        assert handled.wait_for(1) == ["late"]


def test_a_delayed_message_survives_a_cut_connection(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """A blip that breaks every connection strands no delayed message, and repeats none."""
    handled = Handled()
    declare(broker, handled.add)
    with working(broker), server.client() as client:
        Messenger(broker).send(work("late"), delay_ms=4000)
        eventually(lambda: broker.custody(DELAYED).count() == 1)
        client.client_kill_filter(_type="normal", skipme=True)
        assert handled.wait_for(1) == ["late"]
        eventually(lambda: client.hlen(f"foreman:{DELAYED}.msgs") == 0)
    assert handled.now() == ["late"]


def test_delayed_messages_of_a_consumer_that_failed_are_fetched_again(
    server: ValkeyServer, broker: WakingRedisBroker
) -> None:
    """When Dramatiq restarts a delay queue's consumer, it forgets what it held; the next consumer finds it in Redis."""
    broker.declare_queue(WORK.queue)
    Messenger(broker).send(work("late"), delay_ms=60_000)
    assert next(broker.consume(DELAYED, prefetch=10)) is not None
    consumer = broker.consume(DELAYED, prefetch=10)
    found = next(consumer)
    assert found is not None
    assert found.args == ("late",)


def test_a_message_finished_while_redis_is_away_is_not_handled_again(lasting_server: ValkeyServer) -> None:
    """Its acknowledgement is kept until Redis is back; meanwhile the thread is free and the worker stays up."""
    broker, handled, finish = make_broker(lasting_server.url), Handled(), threading.Event()

    def toil(item: str) -> None:
        handled.add(item)
        finish.wait(20)

    declare(broker, toil)
    with working(broker, threads=1), lasting_server.client() as client:
        Messenger(broker).send(work("once"))
        handled.wait_for(1)
        lasting_server.kill()
        finish.set()
        eventually(lambda: len(broker.custody(WORK.queue).unsent()) == 1)
        lasting_server.start()
        eventually(lambda: client.hlen(f"foreman:{WORK.queue}.msgs") == 0)
        eventually(lambda: Messenger(broker).send(work("next")))
        assert handled.wait_for(2) == ["once", "next"]


def test_a_retry_asked_for_while_redis_is_away_is_enqueued_when_it_is_back(
    server: ValkeyServer, broker: WakingRedisBroker
) -> None:
    """Dramatiq alone would acknowledge the message and drop its retry."""
    handled, redis_is_away = Handled(), threading.Event()

    def ask_once() -> None:
        handled.add()
        if len(handled.now()) == 1:
            redis_is_away.wait(20)
            raise retry(0.1)

    declare(broker, ask_once)
    with working(broker):
        Messenger(broker).send(work())
        handled.wait_for(1)
        server.kill()
        redis_is_away.set()
        threading.Event().wait(1)
        server.start()
        handled.wait_for(2)


def test_a_worker_stops_while_redis_is_away(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """A stop does not wait for a server that may never come back."""
    handled = Handled()
    declare(broker, handled.add)
    with working(broker) as stop:
        Messenger(broker).send(work())
        handled.wait_for(1)
        server.kill()
        threading.Event().wait(0.5)
        began = time.monotonic()
        stop()
        assert time.monotonic() - began < 15


def _hold_a_message(url: str) -> None:
    """A worker process that takes a message, says so in Redis and never ends."""
    broker = make_broker(url)

    def hold() -> None:
        broker.client.set("held", 1)
        threading.Event().wait()

    declare(broker, hold)
    with working(broker, threads=1):
        threading.Event().wait()


def test_a_killed_worker_process_costs_its_message_some_seconds(server: ValkeyServer) -> None:
    """After SIGKILL the message goes to another worker as soon as the dead one's heartbeat has run out."""
    broker, handled = make_broker(server.url, heartbeat_timeout_ms=SHORT_HEARTBEAT_MS), Handled()
    declare(broker, handled.add)
    Messenger(broker).send(work())
    process = multiprocessing.get_context("spawn").Process(target=_hold_a_message, args=(server.url,))
    process.start()
    try:
        eventually(lambda: broker.client.get("held") == b"1")
    finally:
        process.kill()
        process.join()
        process.close()
    with working(broker):
        handled.wait_for(1)


def test_the_clock_goes_on_after_redis_was_away(server: ValkeyServer, broker: WakingRedisBroker) -> None:
    """The clock process neither ends nor needs a restart; its ticks resume within seconds of Redis's return."""
    handled, stop = Handled(), threading.Event()
    declare(broker, handled.add)
    ticks = (Tick("often", 0.2, work()),)
    clock_thread = threading.Thread(target=run, args=(make_broker(server.url), ticks, stop))
    clock_thread.start()
    try:
        with working(broker):
            handled.wait_for(1)
            server.kill()
            threading.Event().wait(0.5)
            count = len(handled.now())
            server.start()
            handled.wait_for(count + 2)
    finally:
        stop.set()
        clock_thread.join(5)
    assert not clock_thread.is_alive()
