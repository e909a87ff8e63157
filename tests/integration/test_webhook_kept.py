"""Connections that are kept from one try to the next."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest

from foreman.domain.delivery import TryError
from foreman.net.webhooks import Kept, WebhookSender
from tests.hostile import HostilePeer
from tests.integration.test_webhook_sender import GRACE_S, LOOPBACK, TIMEOUT_S
from tests.receiver import client_tls
from tests.resolver import resolver
from tests.stores import wait_until

#: Seconds that a try may take where none is to run out of them.
PATIENCE_S = 10.0

#: An answer that says where it ends, and one that ends with the connection.
ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nok"


@dataclass
class Log:
    """A peer that keeps what each of its connections was asked, and answers with what ``says`` has for it."""

    #: From the number of the connection and of the request on it, both from 0; None hangs up.
    says: Callable[[int, int], bytes | None] = lambda _connection, _request: ACCEPTED
    #: Whether it hangs up behind each answer, and does not say so.
    hangs_up: bool = False
    connections: list[list[bytes]] = field(default_factory=list)
    #: The numbers of those that have ended.
    over: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def behave(self, sock: socket.socket, _over: threading.Event) -> None:
        """Answer until the other side hangs up, is asked to close, or nothing is to be said."""
        with self._lock:
            number, asked = len(self.connections), list[bytes]()
            self.connections.append(asked)
        while request := sock.recv(65_536):
            asked.append(request)
            answer = self.says(number, len(asked) - 1)
            if answer is None:
                break
            sock.sendall(answer)
            if b"Connection: close" in request:
                break
            if self.hangs_up:
                sock.shutdown(socket.SHUT_WR)
                break
        self.over.add(number)

    @property
    def counts(self) -> list[int]:
        """How many requests came over each connection."""
        return [len(each) for each in self.connections]


@pytest.fixture
def sender() -> WebhookSender:
    """Allowed to call loopback, trusting the receivers' certificate."""
    return WebhookSender(LOOPBACK, PATIENCE_S, tls=client_tls())


def patient() -> Kept:
    """A loaded machine may take longer between two tries than a connection is kept."""
    return Kept(60.0)


def statuses(sender: WebhookSender, url: str, kept: Kept, count: int) -> list[int | TryError | None]:
    """What that many tries came to."""
    attempts = [sender.send(url, {}, b"{}", kept) for _ in range(count)]
    return [each.error if each.status is None else each.status for each in attempts]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_one_connection_serves_all_tries_but_the_first(sender: WebhookSender, tls: bool) -> None:  # noqa: FBT001  a case
    """The first is asked to close, as any single try is: only then is it known that the receiver marks an end."""
    log = Log()
    with HostilePeer(log.behave, tls=tls) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 5) == [204] * 5
    assert log.counts == [1, 4]
    [[first], rest] = log.connections
    assert b"Connection: close\r\n" in first
    assert not any(b"Connection: close\r\n" in each for each in rest)


def test_a_connection_is_closed_when_nothing_more_is_to_be_sent(sender: WebhookSender) -> None:
    """So a receiver with one thread is free for others."""
    log = Log()
    with HostilePeer(log.behave) as peer:
        with patient() as kept:
            statuses(sender, peer.url, kept, 3)
            assert 1 not in log.over
        wait_until(lambda: 1 in log.over)


def test_a_connection_is_kept_for_a_while_only(sender: WebhookSender) -> None:
    """Then others have their turn at a receiver that serves one connection at a time."""
    log = Log()
    with HostilePeer(log.behave) as peer, Kept(-1.0) as kept:
        assert statuses(sender, peer.url, kept, 3) == [204] * 3
    assert log.counts == [1, 1, 1]


def test_a_receiver_that_marks_no_end_is_always_asked_to_close(sender: WebhookSender) -> None:
    """Else each try would wait for an end until the deadline."""
    log = Log(lambda _connection, _request: ENDLESS)
    with HostilePeer(log.behave) as peer, patient() as kept:
        began = monotonic()
        assert statuses(sender, peer.url, kept, 3) == [200] * 3
        assert monotonic() - began < PATIENCE_S
    assert log.counts == [1, 1, 1]


def test_a_receiver_that_hangs_up_unasked_is_not_relied_on_again(sender: WebhookSender) -> None:
    """Its connection is seen to be closed before anything is sent on it, and the following are not to be kept."""
    log = Log(hangs_up=True)
    with HostilePeer(log.behave) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 2) == [204] * 2
        wait_until(lambda: 1 in log.over)
        assert statuses(sender, peer.url, kept, 3) == [204] * 3
    assert log.counts == [1] * 5
    closing = [b"Connection: close\r\n" in request for [request] in log.connections]
    assert closing == [True, False, True, True, True]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_event_is_sent_once_in_a_try(sender: WebhookSender, tls: bool) -> None:  # noqa: FBT001  a case
    """A receiver that hangs up on a kept connection may have the event: the try has failed, and is listed as such."""
    log = Log(lambda connection, request: None if (connection, request) == (1, 1) else ACCEPTED)
    with HostilePeer(log.behave, tls=tls) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 4) == [204, 204, TryError.RESET, 204]
    assert log.counts == [1, 2, 1]


def test_a_kept_connection_that_falls_silent_is_not_waited_for_longer() -> None:
    """A try has one deadline, however it is made."""
    sender = WebhookSender(LOOPBACK, TIMEOUT_S)
    log = Log(lambda connection, request: b"" if (connection, request) == (1, 1) else ACCEPTED)
    with HostilePeer(log.behave) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 2) == [204, 204]
        began = monotonic()
        assert statuses(sender, peer.url, kept, 1) == [TryError.TIMEOUT]
        assert monotonic() - began < TIMEOUT_S + GRACE_S
    assert log.counts == [1, 2]


def test_what_comes_behind_an_answer_is_no_answer_to_the_next_try(sender: WebhookSender) -> None:
    """A second answer to one request ends the connection; the next try is answered on one of its own."""
    log = Log(lambda connection, _request: ACCEPTED + b"HTTP/1.1 410 Gone\r\n\r\n" if connection == 1 else ACCEPTED)
    with HostilePeer(log.behave) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 3) == [204] * 3
    assert log.counts == [1, 1, 1]


def test_an_answer_that_was_not_read_to_its_end_ends_the_connection(sender: WebhookSender) -> None:
    """It is longer than what is read of any; the rest of it would be taken for the next answer."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
    log = Log(lambda _connection, _request: large)
    with HostilePeer(log.behave) as peer, patient() as kept:
        assert statuses(sender, peer.url, kept, 3) == [200] * 3
    assert log.counts == [1, 1, 1]


def test_a_name_is_resolved_and_judged_for_each_try_over_a_kept_connection() -> None:
    """The connection goes on only as long as its address is among the name's, and none of those is shut."""
    addresses = ["127.0.0.1"]

    def now(host: str, port: int, **rest: Any) -> Sequence[tuple[Any, ...]]:
        return resolver(*addresses)(host, port, **rest)

    sender = WebhookSender(LOOPBACK, PATIENCE_S, getaddrinfo=now)
    log = Log()
    with HostilePeer(log.behave) as peer, patient() as kept:
        url = peer.url.replace("127.0.0.1", "hook.example.com")
        assert statuses(sender, url, kept, 3) == [204] * 3
        addresses[:] = ["127.0.0.1", "169.254.169.254"]
        assert statuses(sender, url, kept, 1) == [TryError.ADDRESS_REFUSED]
        addresses[:] = ["127.0.0.2"]
        assert statuses(sender, url, kept, 1) == [TryError.REFUSED]
        addresses[:] = ["127.0.0.1"]
        assert statuses(sender, url, kept, 1) == [204]
    assert log.counts == [1, 2, 1]


def test_a_connection_is_not_used_for_another_receiver(sender: WebhookSender) -> None:
    """Of another name or port: certificate and address are another's."""
    one, two = Log(), Log()
    with HostilePeer(one.behave) as first, HostilePeer(two.behave) as second, patient() as kept:
        assert statuses(sender, first.url, kept, 2) == [204] * 2
        assert statuses(sender, second.url, kept, 2) == [204] * 2
    assert (one.counts, two.counts) == ([1, 1], [2])
