"""``GET /jobs/{id}/events``: what a follower is sent while the stream lives, when it lost something, and without it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from foreman.api.client import Client
from foreman.api.events import EventStream, wants_stream
from foreman.api.places import Places
from foreman.domain.lifecycle import State
from foreman.queue.broker import make_broker
from foreman.queue.live import MAX_DATA_B, Publisher
from tests.followers import say, tell
from tests.integration.api import Api, in_threads, running_api
from tests.queues import PATIENCE_S, eventually
from tests.sse import Sent, events, shown
from tests.valkey import ValkeyServer

ENDED = ["QUEUED", "LOADING", "WORKING", "DONE"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Redis."""
    with ValkeyServer(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def live(tmp_path: Path, server: ValkeyServer) -> Iterator[Api]:
    """An API that hears of what is published."""
    with running_api(tmp_path, server.url) as running:
        yield running


@pytest.fixture
def publisher(server: ValkeyServer) -> Iterator[Publisher]:
    """What a process that runs jobs has."""
    with closing(Publisher(make_broker(server.url))) as made:
        yield made


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Api]:
    """An API without a Redis."""
    with running_api(tmp_path) as running:
        yield running


def get(api: Api, job_id: str, after: str | None = None, accept: str = "text/event-stream") -> testing.Result:
    """Follow a job to its end, from the event with the id ``after`` on."""
    last = {} if after is None else {"Last-Event-ID": after}
    return api.get(f"/jobs/{job_id}/events", {"Accept": accept} | last)


def follow(api: Api, job_id: str, after: str | None = None) -> list[Sent]:
    """What a follower is sent until the job's end."""
    answer = get(api, job_id, after)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    return events(answer.text)


def finish(api: Api, publisher: Publisher, job_id: str, *words: str) -> None:
    """Run the job to its end as its process would tell of it, saying ``words`` and the line that ends them."""
    for state in (State.LOADING, State.WORKING):
        tell(publisher, job_id, state)
    say(publisher, job_id, *words)
    # Spaced as no writer of ours would: the line is the upstream's.
    publisher.text(job_id, b'{"message": {"content": ""}, "done" : true}')
    assert publisher.flush(PATIENCE_S)
    api.finish("".join(words))
    tell(publisher, job_id, State.DONE)


@contextmanager
def following(api: Api, job_id: str) -> Iterator[threading.Thread]:
    """A follower that stays as long as it is let."""
    thread = threading.Thread(target=get, args=(api, job_id), daemon=True)
    thread.start()
    yield thread
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_states_and_text_come_in_order(live: Api, publisher: Publisher) -> None:
    """From the first state to the last, with the text between, and then the stream ends."""
    job_id = live.submit()
    sent, _ = in_threads(lambda: follow(live, job_id), lambda: finish(live, publisher, job_id, "Hel", "lo"))
    assert [each for each in shown(sent) if each] == [*ENDED[:3], "Hel", "lo", "DONE"]
    assert [each.data["sequence"] for each in sent if each.type == "state"] == [1, 2, 3, 4]


def test_a_follower_goes_on_from_any_event(live: Api, publisher: Publisher) -> None:
    """With ``Last-Event-ID`` it is sent what followed that event, neither more nor less, wherever the break was."""
    job_id = live.submit()
    finish(live, publisher, job_id, "a", "b", "c")
    whole = follow(live, job_id)
    assert [each for each in shown(whole) if each] == [*ENDED[:3], "a", "b", "c", "DONE"]
    for index, each in enumerate(whole[:-1]):
        assert follow(live, job_id, each.id) == whole[index + 1 :]


def test_a_follower_that_has_seen_the_end_need_not_come_back(live: Api, publisher: Publisher) -> None:
    """204, which tells a browser so; with a Redis or without."""
    job_id = live.submit()
    finish(live, publisher, job_id, "a")
    answer = get(live, job_id, follow(live, job_id)[-1].id)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("nonsense", ["", "x", "1-2-3", "-1", "9" * 500, "0-0-0.999", "1-2-3.4.5", "1-2-3.x"])
def test_an_id_that_is_none_is_the_beginning(deaf: Api, nonsense: str) -> None:
    """Whatever a client makes up, it is sent the whole."""
    job_id = deaf.submit()
    deaf.finish("Hi")
    assert shown(follow(deaf, job_id, nonsense))[-1] == "DONE"


def test_what_the_stream_lost_is_sent_before_the_end(live: Api, publisher: Publisher) -> None:
    """A line that was too long is a gap; before ``done`` the text is void and comes again as a whole."""
    job_id = live.submit()
    tell(publisher, job_id, State.LOADING)
    say(publisher, job_id, "Hel", "x" * MAX_DATA_B, "!")
    live.finish("Hello!")
    tell(publisher, job_id, State.DONE)
    sent = shown(follow(live, job_id))
    assert sent == [*ENDED[:3], "Hel", "gap", "!", "restart", "Hello!", "DONE"]


def test_a_second_run_makes_the_text_of_the_first_void(live: Api, publisher: Publisher) -> None:
    """``restart``, and then the text from its beginning."""
    job_id = live.submit()
    say(publisher, job_id, "Hal")
    publisher.restart(job_id, 2)
    finish(live, publisher, job_id, "Hello")
    sent = follow(live, job_id)
    assert [each for each in shown(sent) if each] == [*ENDED[:3], "Hal", "restart", "Hello", "DONE"]
    assert next(each for each in sent if each.type == "restart").data == {"attempt": 2}


def test_a_job_whose_stream_is_gone_is_told_from_the_database(deaf: Api) -> None:
    """All its states, its whole text before the last, and the end."""
    job_id = deaf.submit()
    deaf.finish("Hello")
    sent = follow(deaf, job_id)
    assert shown(sent) == [*ENDED[:3], "Hello", "DONE"]
    assert [each.data["sequence"] for each in sent if each.type == "state"] == [1, 2, 3, 4]


def test_a_text_too_long_for_an_event_is_left_to_the_artifact(deaf: Api) -> None:
    """A gap stands for it."""
    job_id = deaf.submit()
    deaf.finish("x" * MAX_DATA_B)
    assert shown(follow(deaf, job_id)) == [*ENDED[:3], "gap", "DONE"]


def test_states_arrive_without_a_redis(deaf: Api) -> None:
    """Late, but all of them, the reason of a failure included."""
    job_id = deaf.submit()

    def fail() -> None:
        claim = deaf.start()
        eventually(lambda: deaf.get("/healthz").status_code == 200)
        deaf.fail_claim(claim)

    sent, _ = in_threads(lambda: follow(deaf, job_id), fail)
    assert shown(sent) == [*ENDED[:3], "FAILED"]
    assert sent[-1].data["error"] == deaf.job(job_id)["error"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/*", "text/event-stream;q=0", "text/event-streams"])
def test_whoever_does_not_ask_for_a_stream_gets_the_states_so_far(deaf: Api, accept: str) -> None:
    """At once, as JSON."""
    job_id = deaf.submit()
    answer = get(deaf, job_id, accept=accept)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "job_id": job_id,
        "events": [{"state": "queued", "at": deaf.job(job_id)["timestamps"]["queued"], "sequence": 1}],
    }
    deaf.fail()
    listed: Any = get(deaf, job_id, accept=accept).json["events"]
    assert [each["state"] for each in listed] == ["queued", "loading", "working", "failed"]
    assert listed[-1]["error"] == deaf.job(job_id)["error"]


@pytest.mark.parametrize(
    "accept",
    ["text/event-stream", "TEXT/Event-Stream", "text/event-stream;q=0.5, */*", "a/b, text/event-stream; charset=utf-8"],
)
def test_a_stream_is_for_whoever_names_it(accept: str) -> None:
    """In a list, with a weight or a parameter, in either case."""
    assert wants_stream(accept)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_what_is_not_there_has_no_events(deaf: Api, accept: str) -> None:
    """404 for an id that never was, 410 for one that was deleted."""
    job_id = deaf.submit()
    deaf.finish()
    deaf.client.simulate_delete(f"/jobs/{job_id}")
    answers = [get(deaf, each, accept=accept).json["type"] for each in ("nonsense", "0" * 26, job_id)]
    assert answers == [f"urn:foreman:problem:{name}" for name in ("job-not-found", "job-not-found", "job-gone")]


def test_a_job_that_is_deleted_ends_its_followers(deaf: Api) -> None:
    """Nothing more will happen to it."""
    job_id = deaf.submit()
    deaf.rebuild(watcher=deaf.parts.watcher)
    watch = deaf.parts.watcher.watch(job_id)
    deaf.fail()
    deaf.client.simulate_delete(f"/jobs/{job_id}")
    client, other = socket.socketpair()
    with client, other:
        place = Places(1).take()
        stream = EventStream(deaf.parts.watcher, watch, Client(client), place, threading.Event())
        sent = shown(events(b"".join(stream).decode()))
        stream.close()
    assert sent == ["QUEUED"]


def test_followers_beyond_the_places_are_asked_to_come_back(deaf: Api) -> None:
    """503 and when to try again; a place is free as soon as a follower leaves it, and history needs none."""
    deaf.rebuild(max_followers=1)
    job_id = deaf.submit()
    with following(deaf, job_id):
        eventually(lambda: get(deaf, job_id).status_code == 503)
        answer = get(deaf, job_id)
        assert answer.json["type"] == "urn:foreman:problem:too-many-connected"
        assert int(answer.headers["Retry-After"]) > 0
        assert get(deaf, job_id, accept="*/*").status_code == 200
        deaf.fail()
    assert shown(follow(deaf, job_id))[-1] == "FAILED"


def test_a_stop_ends_followers(deaf: Api) -> None:
    """They come back to another process; none holds up the end of this one."""
    with following(deaf, deaf.submit()):
        deaf.parts.stopping.set()


def test_a_silent_stream_is_kept_alive_and_ends_with_its_client(deaf: Api) -> None:
    """Comments while nothing happens, for proxies that drop silent connections; nothing when the client has left."""
    client, other = socket.socketpair()
    place = Places(1).take()
    with client, other:
        watch = deaf.parts.watcher.watch(deaf.submit())
        stream = EventStream(deaf.parts.watcher, watch, Client(client), place, threading.Event(), keep_alive_s=0.01)
        pieces = iter(stream)
        assert next(pieces).startswith(b"retry: ")
        assert shown(events(next(pieces).decode())) == ["QUEUED"]
        assert next(pieces) == b":\n\n"
        other.close()
        assert list(pieces) == []
        stream.close()
