from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from time import monotonic

from foreman.domain.fault import Fault
from foreman.net.dial import Found, connect
from foreman.net.origin import parse
from foreman.net.watchdog import Watchdog
from tests.upstream_calls import SLACK_S, full_backlog


def found(*ports: int) -> Sequence[Found]:
    """As a resolver has it of a host with several addresses."""
    return [each for port in ports for each in socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)]


def test_an_address_that_answers_nothing_leaves_time_for_the_next() -> None:
    """A host's first address may be a black hole, the second the server: the wait for both is bounded as for one."""
    began = monotonic()
    with full_backlog() as black_hole, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        addresses = found(black_hole, black_hole, port)
        sock = connect(addresses, parse("http://host"), ssl.create_default_context(), began + 1.5, Watchdog().watch)
        assert isinstance(sock, socket.socket), sock
        assert sock.getpeername()[1] == port
        sock.close()
    assert monotonic() - began < 1.5 + SLACK_S


def test_addresses_that_answer_nothing_take_the_time_of_one() -> None:
    """Each has its share."""
    began = monotonic()
    with full_backlog() as black_hole:
        outcome = connect(
            found(*[black_hole] * 3), parse("http://host"), ssl.create_default_context(), began + 0.6, Watchdog().watch
        )
    assert isinstance(outcome, Fault)
    assert "in time" in outcome.message
    assert 0.6 <= monotonic() - began < 0.6 + SLACK_S


def test_there_is_no_connection_after_the_deadline() -> None:
    """A resolver may have taken all the time: what is shut down before it connects does not pass for a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = connect(
            found(server.getsockname()[1]),
            parse("http://host"),
            ssl.create_default_context(),
            monotonic() - 1,
            Watchdog().watch,
        )
    assert isinstance(outcome, Fault)
    assert "in time" in outcome.message
