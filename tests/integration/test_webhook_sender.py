from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack
from ipaddress import ip_network
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.domain.address import Policy
from foreman.domain.delivery import EXCERPT_LIMIT_B, Attempt, TryError
from foreman.net.webhooks import WebhookSender
from tests.hostile import CASES, HELLO, Behaviour, Case, HostilePeer, drips, is_silent, resets, says
from tests.receiver import Receiver, always, client_tls
from tests.resolver import resolver

LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))
#: Seconds one try may take where it is to end by itself, and where it is ended; and how much later than that it may end
#: on a busy machine. How exact that is on a calm one is what ``test_webhook_bounds`` shows.
PATIENCE_S = 20.0
TIMEOUT_S = 1.0
GRACE_S = 4.0


@pytest.fixture(scope="module")
def sender() -> WebhookSender:
    """Allowed to call loopback, trusting the receivers' certificate."""
    return WebhookSender(LOOPBACK, PATIENCE_S, tls=client_tls())


@pytest.fixture(scope="module")
def hasty() -> WebhookSender:
    """As ``sender``, for receivers that never come to an end."""
    return WebhookSender(LOOPBACK, TIMEOUT_S, tls=client_tls())


def send_within_bounds(sender: WebhookSender, url: str, body: bytes = b"{}") -> Attempt:
    """Send once, and hold the try to its deadline by the wall clock."""
    began = monotonic()
    attempt = sender.send(url, {"Content-Type": "application/json"}, body)
    assert monotonic() - began < TIMEOUT_S + GRACE_S
    return attempt


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_event_arrives_as_it_was_built(sender: WebhookSender, tls: bool) -> None:  # noqa: FBT001  a case
    """Body bytes, headers, path and query reach the receiver untouched, and its answer comes back."""
    body = '{"a":1.10,"b":"ü"}'.encode()
    with Receiver(tls=tls) as receiver:
        attempt = sender.send(receiver.url + "?q=%20", {"X-Foreman-Attempt": "1", "User-Agent": "foreman/1"}, body)
        [request] = receiver.requests
    assert (attempt.status, attempt.error, attempt.excerpt) == (200, None, "ok")
    assert (request.body, request.path) == (body, "/hook?q=%20")
    assert (request.headers["x-foreman-attempt"], request.headers["user-agent"]) == ("1", "foreman/1")
    assert request.headers["host"] == receiver.url.split("/")[2]
    assert request.headers["content-length"] == str(len(body))


def test_a_large_event_arrives_whole(sender: WebhookSender) -> None:
    """The inline limit is no limit of the sender."""
    with Receiver() as receiver:
        assert sender.send(receiver.url, {}, b"x" * 2_000_000).status == 200
        assert len(receiver.requests[0].body) == 2_000_000


def test_a_redirect_is_not_followed(sender: WebhookSender) -> None:
    """A receiver cannot send foreman on to somewhere else."""
    with Receiver() as elsewhere, Receiver(always(302, {"Location": elsewhere.url})) as receiver:
        assert sender.send(receiver.url, {}, b"{}").status == 302
        assert elsewhere.requests == []


def test_a_proxy_of_the_environment_is_not_used(sender: WebhookSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was judged, and not by way of another."""
    with Receiver() as proxy, Receiver() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert sender.send(receiver.url, {}, b"{}").status == 200
        assert proxy.requests == []


def test_a_retry_after_header_comes_back_as_sent(sender: WebhookSender) -> None:
    """What the receiver asks for is decided on elsewhere, so the header is handed on, in bounds."""
    with Receiver(always(503, {"Retry-After": "120"})) as receiver:
        assert sender.send(receiver.url, {}, b"{}").retry_after == "120"
        receiver.answer = always(503, {"Retry-After": "9" * 1000})
        assert sender.send(receiver.url, {}, b"{}").retry_after == "9" * 64


def test_a_long_answer_is_kept_in_part(sender: WebhookSender) -> None:
    """At most 1 KiB is kept, as text that a database can hold, however it was encoded."""
    with Receiver(always(500, {}, b"\0\xff" * 40_000)) as receiver:
        attempt = sender.send(receiver.url, {}, b"{}")
    assert attempt.status == 500
    assert len(attempt.excerpt.encode()) <= EXCERPT_LIMIT_B
    assert set(attempt.excerpt) == {"\N{REPLACEMENT CHARACTER}"}


def test_a_compressed_answer_is_not_unpacked(sender: WebhookSender) -> None:
    """A few bytes that would become gigabytes stay a few bytes."""
    with Receiver(always(200, {"Content-Encoding": "gzip"}, b"not gzip at all")) as receiver:
        assert sender.send(receiver.url, {}, b"{}").excerpt == "not gzip at all"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_try_ends_in_time_whatever_the_receiver_does(
    hasty: WebhookSender,
    case: Case,
    tls: bool,  # noqa: FBT001  a case
) -> None:
    """No behaviour outlasts the deadline or raises, and a status that arrived whole with its headers counts."""
    with HostilePeer(case.behave, tls=tls) as peer:
        attempt = send_within_bounds(hasty, peer.url, b"x" * case.body_b)
    assert (attempt.error if attempt.status is None else attempt.status) == case.outcome
    assert len(attempt.excerpt) <= EXCERPT_LIMIT_B


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        (is_silent, TryError.TIMEOUT),
        (drips(b"\x16\x03\x03\x40\x00", b"\x02"), TryError.TIMEOUT),
        (says(b"HTTP/1.1 400 plain HTTP\r\n\r\n"), TryError.TLS),
        (resets, TryError.RESET),
    ],
    ids=["silent", "drips a record", "speaks HTTP", "resets"],
)
def test_a_tls_handshake_that_comes_to_nothing_ends_in_time(
    hasty: WebhookSender, behave: Behaviour, outcome: TryError
) -> None:
    """The deadline covers the handshake as well."""
    with HostilePeer(behave) as peer:
        assert send_within_bounds(hasty, peer.url.replace("http:", "https:")).error == outcome


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: HELLO + tail))
@settings(max_examples=60)
def test_no_answer_makes_the_sender_raise(answer: bytes) -> None:
    """Whatever bytes come back, the try has an outcome."""
    with HostilePeer(says(answer)) as peer:
        attempt = send_within_bounds(WebhookSender(LOOPBACK, 0.5), peer.url)
    assert (attempt.status is None) != (attempt.error is None)


def test_an_answer_given_before_the_body_was_read_counts(sender: WebhookSender) -> None:
    """A receiver that refuses an event by its headers is heard, though the body could not be sent."""

    def behave(sock: socket.socket, over: threading.Event) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1_000_000):
            pass

    with HostilePeer(behave) as peer:
        assert sender.send(peer.url, {}, b"x" * 3_000_000).status == 410


def test_a_connection_that_is_never_made_ends_in_time(hasty: WebhookSender) -> None:
    """A black hole on the way, or a listener whose queue is full, takes the deadline and no more."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        assert send_within_bounds(hasty, url).error == TryError.TIMEOUT


def test_a_port_without_a_listener_is_refused(sender: WebhookSender) -> None:
    """A receiver that is down is told apart from one that is slow."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert sender.send(f"http://127.0.0.1:{port}/", {}, b"{}").error == TryError.REFUSED


def test_a_certificate_for_another_name_is_refused() -> None:
    """Pinning the address does not weaken TLS: the certificate must be for the URL's name."""
    sender = WebhookSender(LOOPBACK, PATIENCE_S, tls=client_tls(), getaddrinfo=resolver("127.0.0.1"))
    with Receiver(tls=True) as receiver:
        assert sender.send(f"https://hooks.example.com:{receiver.port}/", {}, b"{}").status == 200
        assert sender.send(f"https://other.example.com:{receiver.port}/", {}, b"{}").error == TryError.TLS
        [request] = receiver.requests
    assert request.headers["host"] == f"hooks.example.com:{receiver.port}"


def test_an_unknown_certificate_is_refused() -> None:
    """By default only the system's authorities are trusted."""
    with Receiver(tls=True) as receiver:
        assert WebhookSender(LOOPBACK, PATIENCE_S).send(receiver.url, {}, b"{}").error == TryError.TLS
        assert receiver.requests == []


def test_the_default_context_checks_names() -> None:
    """The sender's own TLS context verifies certificates and host names."""
    context = WebhookSender(Policy(), TIMEOUT_S)._tls
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
