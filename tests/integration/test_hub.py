from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from foreman.domain.lifecycle import State
from foreman.queue.broker import WakingRedisBroker, make_broker
from foreman.queue.follower import Entry
from foreman.queue.hub import Hub
from foreman.queue.live import Publisher
from tests.followers import line, read, read_to_end, say, tell, texts, types
from tests.queues import PATIENCE_S, eventually
from tests.valkey import ValkeyServer

JOB = "01JOB"

#: Seconds that ``patient`` waits for a reply.
REPLY_S = 20.0


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
def publisher(server: ValkeyServer) -> Iterator[Publisher]:
    """What a process that runs jobs has, on the forgetful server."""
    with closing(Publisher(make_broker(server.url))) as made:
        yield made


@pytest.fixture
def patient(server: ValkeyServer) -> Iterator[Publisher]:
    """One that waits so long for each reply that waiting for one shows, however busy the machine is."""
    clients = [redis.Redis.from_url(server.url, socket_timeout=REPLY_S, protocol=2) for _ in range(2)]
    broker = WakingRedisBroker(client=clients[0], blocking_client=clients[1])
    with closing(Publisher(broker)) as made:
        yield made


@pytest.fixture
def hub(server: ValkeyServer) -> Iterator[Hub]:
    """What a web process has, on the forgetful server."""
    with closing(Hub(make_broker(server.url))) as made:
        yield made


def say_until_heard(publisher: Publisher, server: ValkeyServer, word: str) -> None:
    """The same line again and again, until Redis has it."""
    with server.client() as client:

        def heard() -> bool:
            say(publisher, JOB, word)
            return publisher.flush(PATIENCE_S) and bool(client.exists(f"foreman:live:{JOB}"))

        eventually(heard)


def freeze(server: ValkeyServer) -> None:
    """Stop the server, and wait until it has stopped: the signal takes a moment."""
    server.freeze()
    with redis.Redis.from_url(server.url, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)) as client:

        def silent() -> bool:
            try:
                client.ping()
            except redis.TimeoutError:
                return True
            return False

        eventually(silent)


def test_five_hundred_followers_all_get_all(server: ValkeyServer, hub: Hub) -> None:
    """Twenty jobs at once, fifty lines a second each, with twenty-five followers each, that join at different times."""
    jobs = [f"01JOB{number:02}" for number in range(20)]
    words = [f"{number}" for number in range(100)]
    heard: list[list[Entry]] = [[] for _ in range(500)]

    def follow(number: int) -> None:
        with hub.follow(jobs[number % 20]) as follower:
            heard[number] = read_to_end(follower)

    followers = [threading.Thread(target=follow, args=(number,)) for number in range(500)]
    with closing(Publisher(make_broker(server.url))) as publisher:
        began = time.monotonic()
        for follower in followers[:300]:
            follower.start()
        for tick, word in enumerate(words):
            for job_id in jobs:
                say(publisher, job_id, word)
            for follower in followers[300 + 2 * tick : 302 + 2 * tick]:
                follower.start()
            # The pace of the lines: what is tested is that all arrive, whatever the machine makes of it.
            time.sleep(max(0.0, began + tick / 50 - time.monotonic()))
        for job_id in jobs:
            tell(publisher, job_id, State.DONE)
    for follower in followers:
        follower.join(PATIENCE_S)
    assert not any(follower.is_alive() for follower in followers)
    for entries in heard:
        assert types(entries) == ["text"] * 100 + ["state"]
        assert texts(entries) == [line(word) for word in words]


def test_followers_go_on_after_a_redis_that_comes_back(lasting_server: ValkeyServer) -> None:
    """An outage only delays what they hear; they hear nothing twice, and those who join during it hear all."""
    with (
        closing(Publisher(make_broker(lasting_server.url))) as publisher,
        closing(Hub(make_broker(lasting_server.url))) as hub,
        hub.follow(JOB) as follower,
    ):
        say(publisher, JOB, "one", "two")
        assert texts(read(follower, 2)) == [line("one"), line("two")]
        lasting_server.kill()
        assert follower.next(0.7) is None
        with hub.follow(JOB) as newcomer:
            assert newcomer.next(0.1) is None
            lasting_server.start()
            # Of a process that knows nothing of the outage, and so does not leave Redis alone for a second.
            with closing(Publisher(make_broker(lasting_server.url))) as other:
                tell(other, JOB, State.DONE)
            assert types(read_to_end(newcomer)) == ["text", "text", "state"]
            assert types(read_to_end(follower)) == ["state"]


def test_followers_are_told_of_what_an_emptied_redis_has_lost(
    server: ValkeyServer, publisher: Publisher, hub: Hub
) -> None:
    """The stream begins anew, and for one who has heard the old one that is a gap and not a silence."""
    with hub.follow(JOB) as follower:
        say(publisher, JOB, *(f"{number}" for number in range(50)))
        read(follower, 50)
        server.restart()
        say_until_heard(publisher, server, "after")
        entries = read(follower, 2)
        assert types(entries) == ["gap", "text"]
        assert entries[1].data == line("after")


def test_followers_survive_a_cut_connection(server: ValkeyServer, publisher: Publisher, hub: Hub) -> None:
    """A blip that breaks every connection costs a follower no entry."""
    with hub.follow(JOB) as follower, server.client() as client:
        say(publisher, JOB, "one")
        read(follower, 1)
        client.client_kill_filter(_type="normal", skipme=True)
        with closing(Publisher(make_broker(server.url))) as other:
            say(other, JOB, "two")
            tell(other, JOB, State.DONE)
        assert types(read_to_end(follower)) == ["text", "state"]


def test_text_during_an_outage_is_dropped_at_once_and_leaves_a_gap(
    server: ValkeyServer, publisher: Publisher, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on as fast as without, and its followers know that they have missed something."""
    with hub.follow(JOB) as follower, caplog.at_level(logging.WARNING, logger="foreman.queue.live"):
        say(publisher, JOB, "before")
        read(follower, 1)
        server.kill()
        began = time.monotonic()
        for _ in range(20):
            say(publisher, JOB, *("lost" for _ in range(100)))
            publisher.flush(PATIENCE_S)
        tell(publisher, "01OTHER", State.DONE)
        assert time.monotonic() - began < 10  # a timeout each would be twenty
        server.start()
        say_until_heard(publisher, server, "after")
        heard = read(follower, 2)
        assert types(heard) == ["gap", "text"]
        assert heard[1].data == line("after")
    said = [record.getMessage() for record in caplog.records if record.name == "foreman.queue.live"]
    assert ["away" in message for message in said] == [True, False]


def test_a_frozen_redis_holds_up_no_run(server: ValkeyServer, patient: Publisher, hub: Hub) -> None:
    """Thousands of lines are taken at once; a gap says that not all of them are there when Redis answers again."""
    with hub.follow(JOB) as follower, server.client() as client:
        say(patient, JOB, "before")
        read(follower, 1)
        freeze(server)
        try:
            began = time.monotonic()
            say(patient, JOB, *("unheard" for _ in range(5000)))
            assert time.monotonic() - began < REPLY_S / 2
            assert follower.next(0.1) is None
        finally:
            server.thaw()

        def ended() -> bool:
            tell(patient, JOB, State.DONE)
            return bool(client.ttl(f"foreman:live:{JOB}") <= 300)

        eventually(ended)
        heard = types(read_to_end(follower))
    assert "gap" in heard
    assert heard[-1] == "state"


def test_the_end_of_a_job_does_not_wait_for_a_frozen_redis(server: ValkeyServer, patient: Publisher) -> None:
    """A Redis that takes connections and never answers does not keep the job from ending: half a second, no more."""
    say(patient, JOB, "one")
    assert patient.flush(PATIENCE_S)
    freeze(server)
    try:
        began = time.monotonic()
        tell(patient, JOB, State.DONE)
        assert time.monotonic() - began < REPLY_S / 2
    finally:
        server.thaw()


def test_a_hub_closes_promptly(server: ValkeyServer) -> None:
    """Whether it waits for a stream, for a follower or for Redis."""
    for prepare in (lambda _: None, lambda hub: hub.follow(JOB).next(0.1), lambda hub: hub.follow(JOB).close()):
        hub = Hub(make_broker(server.url))
        prepare(hub)
        began = time.monotonic()
        hub.close()
        assert time.monotonic() - began < 10
    hub = Hub(make_broker(server.url))
    hub.follow(JOB).next(0.1)
    server.kill()
    began = time.monotonic()
    hub.close()
    assert time.monotonic() - began < 10


def test_text_is_heard_within_milliseconds(publisher: Publisher, hub: Hub) -> None:
    """What is generated is seen as it is generated: the median of many lines, on a machine with much else to do."""
    waits_s = []
    with hub.follow(JOB) as follower:
        for number in range(100):
            began = time.monotonic()
            say(publisher, JOB, f"{number}")
            read(follower, 1)
            waits_s.append(time.monotonic() - began)
    assert statistics.median(waits_s) < 0.1
