from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from foreman.domain.lifecycle import State
from foreman.queue.follower import Ended, Entry
from foreman.queue.hub import Hub
from foreman.queue.live import MAX_DATA_B, MAX_ENTRIES, Draft, Kind, Publisher, _Backlog, key
from tests.followers import line, read, read_to_end, say, tell, texts, types
from tests.queues import PATIENCE_S, Engine, eventually, fake_engine, valkey_engine
from tests.valkey import ValkeyServer

JOB = "01JOB"
STREAM = key("foreman", JOB)


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


@pytest.fixture
def publisher(engine: Engine) -> Iterator[Publisher]:
    """What a process that runs jobs has."""
    with closing(Publisher(engine.broker())) as made:
        yield made


@pytest.fixture
def hub(engine: Engine) -> Iterator[Hub]:
    """What a web process has."""
    with closing(Hub(engine.broker())) as made:
        yield made


def stored(engine: Engine) -> list[tuple[str, Any]]:
    """Type and data of each entry in the job's stream."""
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", engine.client.xrange(STREAM))
    return [(fields[b"type"].decode(), json.loads(fields[b"data"])) for _, fields in entries]


def test_what_is_published_of_a_job_arrives_in_order(engine: Engine, publisher: Publisher) -> None:
    """States, restarts and text stand in the stream as they were published, each with what a follower must know."""
    tell(publisher, JOB, State.LOADING)
    tell(publisher, JOB, State.WORKING)
    say(publisher, JOB, "He")
    publisher.restart(JOB, 2)
    say(publisher, JOB, "Hello")
    tell(publisher, JOB, State.DONE)
    assert publisher.flush(PATIENCE_S)
    moment = {"at": "2026-11-24T00:00:00.000Z", "attempt": 1}
    assert stored(engine) == [
        ("state", {"state": "loading", "sequence": 2} | moment),
        ("state", {"state": "working", "sequence": 3} | moment),
        ("text", {"message": {"content": "He"}}),
        ("restart", {"attempt": 2}),
        ("text", {"message": {"content": "Hello"}}),
        ("state", {"state": "done", "sequence": 4} | moment),
    ]


def test_a_failed_job_says_why(engine: Engine, publisher: Publisher) -> None:
    """The error in the stream is the one in the API."""
    tell(publisher, JOB, State.FAILED)
    assert publisher.flush(PATIENCE_S)
    [(_, data)] = stored(engine)
    assert data["error"] == {"code": "stalled", "message": "no byte for 300 s", "retryable": True}


def test_a_queued_job_takes_no_memory_of_redis(engine: Engine, publisher: Publisher) -> None:
    """There may be a million of them, and nobody has heard of the job when it is queued."""
    tell(publisher, JOB, State.QUEUED)
    assert publisher.flush(PATIENCE_S)
    assert not engine.client.exists(STREAM)


def test_nothing_comes_after_the_end(engine: Engine, publisher: Publisher) -> None:
    """Text of a run that went on after its job was cancelled is dropped, as is a second end."""
    tell(publisher, JOB, State.FAILED)
    say(publisher, JOB, "late")
    tell(publisher, JOB, State.DONE)
    assert publisher.flush(PATIENCE_S)
    assert [kind for kind, _ in stored(engine)] == ["state"]


def test_a_stream_outlives_its_job_by_five_minutes(engine: Engine, publisher: Publisher) -> None:
    """Long enough to come back after a broken connection, and late text does not prolong it."""
    say(publisher, JOB, "x")
    tell(publisher, JOB, State.DONE)
    say(publisher, JOB, "late")
    assert publisher.flush(PATIENCE_S)
    assert 290 < engine.client.ttl(STREAM) <= 300


@pytest.mark.parametrize(("left_s", "renewed"), [(3595, False), (3545, False), (3530, True), (10, True)])
def test_a_streams_life_is_prolonged_once_a_minute(
    engine: Engine, publisher: Publisher, left_s: int, *, renewed: bool
) -> None:
    """An hour after the last entry at the latest, a minute less at the earliest, it is gone."""
    say(publisher, JOB, "x")
    assert publisher.flush(PATIENCE_S)
    assert 3590 < engine.client.ttl(STREAM) <= 3600
    engine.client.expire(STREAM, left_s)
    say(publisher, JOB, "y")
    assert publisher.flush(PATIENCE_S)
    assert (engine.client.ttl(STREAM) > left_s) is renewed


def test_a_line_that_cannot_be_kept_leaves_a_gap(engine: Engine, publisher: Publisher) -> None:
    """A follower is told that something is missing, and the run does not notice."""
    say(publisher, JOB, "before")
    publisher.text(JOB, line("x" * MAX_DATA_B))
    say(publisher, JOB, "after")
    assert publisher.flush(PATIENCE_S)
    assert [kind for kind, _ in stored(engine)] == ["text", "gap", "text"]


def test_a_line_is_kept_as_it_was_written(publisher: Publisher, hub: Hub) -> None:
    """To the byte; half of a surrogate pair too, since only whoever joins it with the next line can tell."""
    written = rb'{ "message": {"content": "\u003cb\u003e \ud83d"}, "n": 1.50 }'
    publisher.text(JOB, written)
    with hub.follow(JOB) as follower:
        assert texts(read(follower, 1)) == [written]


def test_publishers_of_one_job_number_its_entries_together(engine: Engine, publisher: Publisher, hub: Hub) -> None:
    """The process that runs the job and the one that stores its completion write to one stream, without a gap."""
    with hub.follow(JOB) as follower, closing(Publisher(engine.broker())) as other:
        say(publisher, JOB, "one")
        assert publisher.flush(PATIENCE_S)
        tell(other, JOB, State.DONE)
        assert types(read_to_end(follower)) == ["text", "state"]


def test_a_follower_gets_what_was_and_what_comes(publisher: Publisher, hub: Hub) -> None:
    """It starts with the first entry, hears the following ones live, and is told of the end once and for all."""
    say(publisher, JOB, "one", "two")
    assert publisher.flush(PATIENCE_S)
    with hub.follow(JOB) as follower:
        assert texts(read(follower, 2)) == [line("one"), line("two")]
        say(publisher, JOB, "three")
        assert texts(read(follower, 1)) == [line("three")]
        tell(publisher, JOB, State.DONE)
        assert types(read_to_end(follower)) == ["state"]
        assert follower.next(0) == Ended()


def test_a_follower_of_a_silent_job_waits_as_long_as_it_was_told(hub: Hub) -> None:
    """Nothing is an answer: whoever asked can look into the database, or at its client."""
    with hub.follow(JOB) as follower:
        began = time.monotonic()
        assert follower.next(0) is None
        assert follower.next(0.2) is None
        assert 0.2 <= time.monotonic() - began < 10


def test_a_follower_goes_on_after_the_last_entry_it_has_seen(engine: Engine, publisher: Publisher, hub: Hub) -> None:
    """On any hub of any process, nothing comes twice and nothing is left out."""
    say(publisher, JOB, *(f"{number}" for number in range(400)))
    tell(publisher, JOB, State.DONE)
    with hub.follow(JOB) as follower:
        seen = read(follower, 150)
    with closing(Hub(engine.broker())) as other, other.follow(JOB, seen[-1].id) as follower:
        seen += read_to_end(follower)
    assert types(seen) == ["text"] * 400 + ["state"]
    assert texts(seen) == [line(f"{number}") for number in range(400)]


@pytest.mark.parametrize("after", ["", "17", "0-0", "a-b-c", "1-2-3-4", "9" * 20 + "-0-1", "１-0-1", "-", "$"])
def test_an_id_that_is_none_means_the_beginning(publisher: Publisher, hub: Hub, after: str) -> None:
    """Clients may send anything, and one that does disturbs no other."""
    say(publisher, JOB, "one")
    tell(publisher, JOB, State.DONE)
    with hub.follow(JOB, after) as follower, hub.follow(JOB) as other:
        assert types(read_to_end(follower)) == ["text", "state"]
        assert types(read_to_end(other)) == ["text", "state"]


def test_followers_of_one_job_may_be_at_different_places(publisher: Publisher, hub: Hub) -> None:
    """Each gets all that comes after its own place, whoever joins, goes on or leaves beside it."""
    words = [f"{number}" for number in range(900)]
    say(publisher, JOB, *words[:300])
    assert publisher.flush(PATIENCE_S)
    with hub.follow(JOB) as first:
        seen = read(first, 300)
        starts = [0, 1, 99, 100, 101, 150, 299]
        others = [hub.follow(JOB, seen[start].id) for start in starts]
        quitter = hub.follow(JOB, seen[42].id)
        say(publisher, JOB, *words[300:600])
        quitter.close()
        assert publisher.flush(PATIENCE_S)
        say(publisher, JOB, *words[600:])
        tell(publisher, JOB, State.DONE)
        assert texts(seen + read_to_end(first)) == [line(word) for word in words]
        for start, follower in zip(starts, others, strict=True):
            entries = read_to_end(follower)
            assert types(entries) == ["text"] * (899 - start) + ["state"]
            assert texts(entries) == [line(word) for word in words[start + 1 :]]


def test_a_follower_that_does_not_read_holds_up_nobody_and_misses_nothing(publisher: Publisher, hub: Hub) -> None:
    """The hub keeps a bounded part for it and leaves the rest in Redis; the others hear everything meanwhile."""
    words = [f"{number}" for number in range(3000)]
    with hub.follow(JOB) as slow, hub.follow(JOB) as quick:
        for start in range(0, len(words), 500):
            say(publisher, JOB, *words[start : start + 500])
            assert publisher.flush(PATIENCE_S)
            assert texts(read(quick, 500)) == [line(word) for word in words[start : start + 500]]
        eventually(lambda: slow.resting)
        tell(publisher, JOB, State.DONE)
        assert types(read_to_end(quick)) == ["state"]
        entries = read_to_end(slow)
    assert types(entries) == ["text"] * 3000 + ["state"]
    assert texts(entries) == [line(word) for word in words]


def test_a_stream_is_capped_and_a_follower_that_is_too_late_is_told_of_the_gap(
    engine: Engine, publisher: Publisher, hub: Hub
) -> None:
    """What is gone is marked where it was, once, for a follower from the beginning and for one that was further on."""
    with hub.follow(JOB) as follower:
        say(publisher, JOB, "0")
        [first] = read(follower, 1)
    total = MAX_ENTRIES + 2500
    for start in range(1, total, 500):
        say(publisher, JOB, *(f"{number}" for number in range(start, min(start + 500, total))))
        assert publisher.flush(PATIENCE_S)
    tell(publisher, JOB, State.DONE)
    assert publisher.flush(PATIENCE_S)
    kept = engine.client.xlen(STREAM)
    assert MAX_ENTRIES <= kept < MAX_ENTRIES + 200
    for after in (None, first.id):
        with hub.follow(JOB, after) as late:
            entries = read_to_end(late)
        assert types(entries) == ["gap"] + ["text"] * (kept - 1) + ["state"]
        assert texts(entries) == [line(f"{number}") for number in range(total - kept + 1, total)]
        assert entries[0].id == (after or "0-0-0")


def test_a_new_follower_is_heard_at_once(publisher: Publisher, hub: Hub) -> None:
    """The hub does not first sleep out its wait for the streams that it knew of."""
    say(publisher, JOB, "one")
    waits_s = []
    with hub.follow("01SILENT") as silent:
        for _ in range(11):
            assert silent.next(0.05) is None  # now the hub waits, for half a second
            began = time.monotonic()
            with hub.follow(JOB) as follower:
                assert isinstance(follower.next(PATIENCE_S), Entry)
            waits_s.append(time.monotonic() - began)
    assert statistics.median(waits_s) < 0.3


def test_a_hub_keeps_nothing_of_followers_that_are_gone(publisher: Publisher, hub: Hub) -> None:
    """Whether they left, or their job ended before they did."""
    say(publisher, JOB, "one")
    with hub.follow(JOB) as follower, hub.follow("01OTHER") as other:
        read(follower, 1)
        tell(publisher, JOB, State.DONE)
        read_to_end(follower)
        assert other.next(0) is None
    assert not hub._followers
    assert not hub._resting


def test_what_waits_for_the_writer_is_bounded_and_a_gap_says_so() -> None:
    """Text that does not fit is turned away, by number and by bytes; the little else there is never is."""
    for text, kept in ((b"{}", 1000), (b"x" * MAX_DATA_B, 4)):
        backlog = _Backlog()
        for kind in [Kind.TEXT] * 1500 + [Kind.RESTART] + [Kind.TEXT] * 2 + [Kind.STATE]:
            backlog.add(Draft(kind, text))
        kinds = [draft.type for draft in backlog.drafts]
        assert kinds == [Kind.TEXT] * kept + [Kind.GAP, Kind.RESTART, Kind.GAP, Kind.STATE]


def test_a_closed_publisher_has_written_all_and_takes_no_more(engine: Engine) -> None:
    """A process that ends does not take the last words with it."""
    publisher = Publisher(engine.broker())
    say(publisher, JOB, *("x" for _ in range(300)))
    publisher.close()
    say(publisher, JOB, "late")
    assert engine.client.xlen(STREAM) == 300
