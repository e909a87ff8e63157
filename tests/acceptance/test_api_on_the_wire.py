"""What only a real server and a real socket show: framing, limits, keep-alive and a stop with clients waiting."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Stack, eventually, procfile

BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}).encode()

HEAD = b"POST /jobs HTTP/1.1\r\nHost: foreman\r\nContent-Type: application/json\r\n"

#: Seconds after which a server that does not answer counts as hanging.
PATIENCE_S = 60.0


@contextmanager
def connected(stack: Stack) -> Iterator[socket.socket]:
    """A connection to the API."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE_S) as sock:
        yield sock


def answer(sock: socket.socket) -> tuple[int, Any]:
    """The status of the next answer on a connection, and its body as JSON."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, json.loads(response.read() or b"null")


def chunked(*pieces: bytes) -> bytes:
    """A whole request with a body in chunks."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed


def test_a_chunked_body_is_read_and_the_connection_goes_on(stack: Stack) -> None:
    """The next request on the same connection begins where the body ended."""
    with connected(stack) as sock:
        for pieces in ((BODY,), (BODY[:7], BODY[7:]), tuple(BODY[index : index + 1] for index in range(len(BODY)))):
            sock.sendall(chunked(*pieces))
            status, body = answer(sock)
            assert (status, body["state"]) == (202, "queued")


def test_a_broken_chunk_is_the_clients_error(stack: Stack) -> None:
    """400 and not 500, whatever stands in place of a length."""
    for broken in (b"zz\r\n", b"5\r\n{}}}}}}}}}}}\r\n0\r\n\r\n"):
        with connected(stack) as sock:
            sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + broken)
            status, body = answer(sock)
            assert (status, body["type"]) == (400, "urn:foreman:problem:incomplete-body")


def test_a_body_that_ends_early_makes_no_job(stack: Stack) -> None:
    """Half closed after half of it: a problem for whoever still listens."""
    with connected(stack) as sock:
        sock.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" + BODY)
        sock.shutdown(socket.SHUT_WR)
        status, body = answer(sock)
        assert (status, body["type"]) == (400, "urn:foreman:problem:incomplete-body")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(stack: Stack) -> None:
    """A client that waits for the word of the server saves both the transfer."""
    with connected(stack) as sock:
        sock.sendall(HEAD + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        received = sock.recv(65_536)
        while b"\r\n\r\n" not in received.partition(b" 413 ")[2]:
            piece = sock.recv(65_536)
            assert piece, received
            received += piece
        assert b" 413 " in received


@pytest.mark.parametrize("framing", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_client_that_sends_all_of_a_body_over_the_limit_gets_an_answer(stack: Stack, framing: dict[str, str]) -> None:
    """One that reads nothing before it has sent everything, as most do, would otherwise see its connection break."""
    body = iter([b"x" * 1_048_576] * 40) if framing else b"x" * 41_943_040
    headers = {"Content-Type": "application/json"} | framing
    with closing(http.client.HTTPConnection(stack.web_on, stack.port, timeout=PATIENCE_S)) as connection:
        connection.request("POST", "/jobs", body, headers, encode_chunked=bool(framing))
        response = connection.getresponse()
        assert (response.status, json.load(response)["type"]) == (413, "urn:foreman:problem:body-too-large")
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_nesting_without_end_is_a_problem(stack: Stack) -> None:
    """100,000 brackets are refused, and the process lives on."""
    for body in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000):
        with connected(stack) as sock:
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            status, problem = answer(sock)
            assert (status, problem["type"]) == (400, "urn:foreman:problem:not-json")
    assert stack.answers()


def test_a_large_body_within_the_limit_is_a_job(stack: Stack) -> None:
    """Images make bodies of megabytes."""
    message = {"role": "user", "content": "x" * 8_000_000}
    body = json.dumps({"model": "tiny", "messages": [message]}).encode()
    with connected(stack) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer(sock)[0] == 202


def test_a_job_is_accepted_while_everything_but_the_database_is_away(own_directory: Path) -> None:
    """Redis and the upstream gone: 202 all the same, health degraded, and readiness names both."""
    with Stack(own_directory, commands={"web": procfile()["web"]}) as alone:
        alone.valkey.kill()
        alone.upstream.stop()
        job_id = alone.submit()
        assert alone.job(job_id)["state"] == "queued"

        def unready() -> set[str]:
            checks = alone.ask("GET", "/readyz").json["checks"]
            return {name for name, check in checks.items() if check["status"] == "failed"}

        eventually(lambda: unready() == {"redis", "upstream"}, "readiness names what is away")
        ready = alone.ask("GET", "/readyz")
        assert ready.status == 503
        assert "127.0.0.1" not in ready.raw.decode()
        health = alone.ask("GET", "/healthz")
        assert (health.status, health.json) == (200, {"status": "ok", "degraded": True})


def test_a_stop_answers_whoever_waits(own_directory: Path) -> None:
    """The longest wait does not hold a shutdown, nor does a shutdown cut the answer off."""
    with Stack(own_directory, commands={"web": procfile()["web"]}) as alone:
        job_id = alone.submit()
        answers: list[Any] = []
        sent = threading.Event()

        def wait() -> None:
            with connected(alone) as sock:
                sock.sendall(f"GET /jobs/{job_id}?wait=60 HTTP/1.1\r\nHost: foreman\r\n\r\n".encode())
                sent.set()
                answers.append(answer(sock))

        thread = threading.Thread(target=wait)
        thread.start()
        sent.wait(PATIENCE_S)
        # A second request that is answered shows that the first one has been taken.
        assert alone.answers()
        alone.stop("web")
        thread.join(PATIENCE_S)
        [(status, shown)] = answers
        assert (status, shown["job_id"], shown["state"]) == (200, job_id, "queued")


def test_several_web_processes_keep_connections_alive_too(own_directory: Path) -> None:
    """Each request finds the connection of the one before it as that left it."""
    with (
        Stack(own_directory, {"FOREMAN_WEB_WORKERS": "2"}, {"web": procfile()["web"]}) as two,
        connected(two) as sock,
    ):
        for _ in range(20):
            sock.sendall(chunked(BODY))
            assert answer(sock)[0] == 202


def test_more_clients_than_threads_are_all_answered(own_directory: Path) -> None:
    """A thread stays with a client that asks at once again, but not while another waits for one."""
    env = {"FOREMAN_WEB_THREADS": "1", "FOREMAN_WEB_FOLLOWERS": "1"}
    with Stack(own_directory, env, {"web": procfile()["web"]}) as alone, ExitStack() as exits:
        clients = [exits.enter_context(connected(alone)) for _ in range(8)]
        answered = [0] * len(clients)

        def ask(number: int) -> None:
            while min(answered) < 20:
                clients[number].sendall(b"GET /healthz HTTP/1.1\r\nHost: foreman\r\n\r\n")
                assert answer(clients[number])[0] == 200
                answered[number] += 1

        threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert min(answered) >= 20, answered
