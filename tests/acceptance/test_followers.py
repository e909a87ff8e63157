"""Followers of live events on real processes: many of them, slow ones, and those whose web process goes away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.stack import PATIENCE_S, Stack, eventually, procfile
from tests.acceptance.test_sync import the_rest
from tests.addresses import free_port
from tests.sse import Following, events, shown
from tests.upstream import reply
from tests.upstream_faults import after, held

#: What one web process is to bear by default.
MANY = 500

#: Seconds in which a submission is answered while they all follow: it takes milliseconds, and this machine is shared.
ANSWER_S = 20.0


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of one web process, with its default bounds."""
    with Stack(tmp_path_factory.mktemp("crowd")) as stack:
        yield stack


def connect(stack: Stack, job_id: str) -> socket.socket:
    """A follower that has asked, and of whose answer nothing was read."""
    sock = socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE_S)
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    sock.sendall(request.encode())
    return sock


def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def read_all(sock: socket.socket) -> bytes:
    """The whole of an answer, its chunks put together."""
    with sock, sock.makefile("rb") as file:
        while file.readline().strip():
            pass
        found = b""
        while size := int(file.readline(), 16):
            found += file.read(size)
            file.readline()
    return found


def test_a_crowd_of_followers_leaves_room_for_submissions(crowd: Stack) -> None:
    """500 on one web process: jobs are accepted and read as ever, and each follower gets all of its job."""
    gate = threading.Event()
    crowd.upstream.next(held(gate))
    job_id = crowd.submit()
    crowd.until(job_id, "working")
    with ExitStack() as sockets:
        followers = [sockets.enter_context(connect(crowd, job_id)) for _ in range(MANY)]
        others = []
        for _ in range(20):
            began = time.monotonic()
            others.append(crowd.submit())
            assert crowd.job(others[-1])["state"] == "queued"
            assert time.monotonic() - began < ANSWER_S
        for sock in followers:
            assert sock.recv(4, socket.MSG_PEEK) == b"HTTP"
        gate.set()
        for sock in followers:
            seen = shown(events(read_all(sock).decode()))
            assert "".join(each for each in seen if not each.isupper()) == "Hello, world!"
            assert [each for each in seen if each.isupper()] == ["QUEUED", "LOADING", "WORKING", "DONE"]
    crowd.until(others[-1], "done")


def test_a_follower_that_does_not_read_slows_nobody(crowd: Stack) -> None:
    """Its job ends in its own time, and one that does read sees all of it."""
    words = [f"{number} " + "x" * 5000 for number in range(1000)]  # more than all buffers on the way hold
    gate = threading.Event()
    crowd.upstream.next(held(gate, reply(*words, delay_s=0.002)))
    job_id = crowd.submit()
    with connect(crowd, job_id), Following(crowd.port, job_id) as reading:
        crowd.until(job_id, "working")
        gate.set()
        crowd.until(job_id, "done")
        assert reading.ended.wait(PATIENCE_S)
        text = [each.data["message"]["content"] for each in reading.events if each.type == "text"]
        assert "".join(text) == "".join(words)


def test_a_stream_goes_on_at_another_web_process(crowd: Stack) -> None:
    """The first is killed in the middle: with ``Last-Event-ID`` no event is missed and none comes twice."""
    crowd.upstream.next(reply("a", "b", "c", "d", delay_s=0.2))
    job_id = crowd.submit()
    with Following(crowd.port, job_id) as first:
        eventually(lambda: any(each.type == "text" for each in first.events), "some text has come")
        crowd.kill("web")
        assert first.ended.wait(PATIENCE_S)
    crowd.start("web")
    eventually(crowd.answers, "the API answers")
    with Following(crowd.port, job_id, after=first.events[-1].id) as second:
        assert second.ended.wait(PATIENCE_S)
    seen = shown([*first.events, *second.events])
    assert [each for each in seen if each] == ["QUEUED", "LOADING", "WORKING", "a", "b", "c", "d", "DONE"]


def test_a_follower_may_change_to_a_web_process_beside_the_first(own_directory: Path) -> None:
    """As behind a load balancer: while the job runs, what the one has shown the other does not show again."""
    port = free_port()
    commands = procfile()
    commands["web2"] = ["env", f"FOREMAN_WEB_BIND=127.0.0.1:{port}", *commands["web"]]
    with Stack(own_directory, commands=commands) as stack:
        gate = threading.Event()
        stack.upstream.next(after(2, held(gate, the_rest)))
        job_id = stack.submit()
        with Following(stack.port, job_id) as first:
            eventually(lambda: [each.type for each in first.events].count("text") == 2, "the text until now")
        eventually(lambda: listens(port), "the other is up")
        with Following(port, job_id, after=first.events[-1].id) as second:
            gate.set()
            assert second.ended.wait(PATIENCE_S)
        assert [each for each in shown(first.events) if each] == ["QUEUED", "LOADING", "WORKING", "t0 ", "t1 "]
        assert [each for each in shown(second.events) if each] == ["a", "b", "c", "DONE"]


def test_states_go_on_while_redis_is_away(crowd: Stack) -> None:
    """The database tells of them, and the text comes as a whole before the end."""
    gate = threading.Event()
    crowd.upstream.next(held(gate, reply("Hel", "lo")))
    before = len(crowd.upstream.chats)
    job_id = crowd.submit()
    crowd.until(job_id, "working")
    with Following(crowd.port, job_id) as follower:
        eventually(lambda: len(follower.events) == 3, "the states until now")
        crowd.valkey.kill()
        gate.set()
        eventually(crowd.upstream.chats[before].ended.is_set, "all is said")
        # Storing is by message: it waits for Redis, which comes back and has forgotten what was not written.
        crowd.valkey.start()
        assert follower.ended.wait(PATIENCE_S)
    states = [each.data["state"] for each in follower.events if each.type == "state"]
    assert states == ["queued", "loading", "working", "done"]
    last_restart = max([0, *[index for index, each in enumerate(follower.events) if each.type == "restart"]])
    text = [each.data["message"]["content"] for each in follower.events[last_restart:] if each.type == "text"]
    assert "".join(text) == "Hello"
