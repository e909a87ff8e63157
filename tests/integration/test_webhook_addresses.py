from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_network
from time import monotonic
from typing import Any

import pytest

from foreman.domain.address import Listener, Policy, Target, judge_url
from foreman.domain.delivery import Attempt, TryError
from foreman.net.guard import resolve
from foreman.net.webhooks import WebhookSender
from tests.receiver import Receiver
from tests.resolver import resolver

LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))
#: Seconds one try may take where it is to end by itself, and where it is ended; and how much later than that it may end
#: on a busy machine. How exact that is on a calm one is what ``test_webhook_bounds`` shows.
PATIENCE_S = 20.0
TIMEOUT_S = 1.0
GRACE_S = 4.0


def target(url: str, policy: Policy = LOOPBACK) -> Target:
    """A URL that is acceptable as text."""
    judged = judge_url(url, policy)
    assert isinstance(judged, Target)
    return judged


def send_within_bounds(sender: WebhookSender, url: str, body: bytes = b"{}") -> Attempt:
    """Send once, and hold the try to its deadline by the wall clock."""
    began = monotonic()
    attempt = sender.send(url, {"Content-Type": "application/json"}, body)
    assert monotonic() - began < TIMEOUT_S + GRACE_S
    return attempt


@pytest.mark.parametrize("ips", [("127.0.0.1",), ("93.184.215.14", "127.0.0.1"), ("169.254.169.254",), ("::1",)])
def test_a_name_with_one_bad_address_is_never_connected_to(ips: tuple[str, ...]) -> None:
    """One refused address among several refuses the name, since the next answer may lead there."""
    with Receiver() as receiver:
        sender = WebhookSender(Policy(allow_http=True), PATIENCE_S, getaddrinfo=resolver(*ips))
        attempt = send_within_bounds(sender, f"http://hooks.example.com:{receiver.port}/")
        assert attempt.error == TryError.ADDRESS_REFUSED
        assert receiver.requests == []


def test_a_url_that_policy_no_longer_allows_is_not_called() -> None:
    """A job submitted under other settings does not keep a door open."""
    with Receiver() as receiver:
        assert WebhookSender(Policy(), PATIENCE_S).send(receiver.url, {}, b"{}").error == TryError.ADDRESS_REFUSED
        assert receiver.requests == []


def test_a_name_is_resolved_once_for_a_try() -> None:
    """The address that was judged is the one connected to: no second look-up could answer differently."""
    names = resolver("127.0.0.1")
    with Receiver() as receiver:
        sender = WebhookSender(LOOPBACK, PATIENCE_S, getaddrinfo=names)
        assert sender.send(f"http://hooks.example.com:{receiver.port}/", {}, b"{}").status == 200
    assert names.asked == 1


def test_a_name_that_changes_its_answer_gains_nothing() -> None:
    """DNS rebinding: what a name answers after it was judged is not asked for, and the next try is judged anew."""
    names = resolver("127.0.0.1", then=("127.0.0.2",))
    policy = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.1/32"),))
    with Receiver() as receiver:
        sender = WebhookSender(policy, PATIENCE_S, getaddrinfo=names)
        assert sender.send(f"http://hooks.example.com:{receiver.port}/", {}, b"{}").status == 200
        assert names.asked == 1
        refused = sender.send(f"http://hooks.example.com:{receiver.port}/", {}, b"{}")
        assert names.asked == 2
        assert len(receiver.requests) == 1
    assert refused.error == TryError.ADDRESS_REFUSED


def test_a_refused_address_is_told_as_a_code() -> None:
    """What a name resolves to inside a network is nothing to tell its submitter."""
    sender = WebhookSender(Policy(allow_http=True), PATIENCE_S, getaddrinfo=resolver("10.77.66.55"))
    attempt = sender.send("http://hooks.example.com/", {}, b"{}")
    assert attempt.error == "address_refused"
    assert "10.77" not in repr(attempt)


def test_a_trusted_name_is_called_at_a_private_address() -> None:
    """``webhook.allowed_hosts`` opens a name whatever it resolves to, and no other name that resolves to the same."""
    policy = Policy(allow_http=True, allowed_hosts=("receiver.lan", "*.example.internal", "localhost"))
    sender = WebhookSender(policy, PATIENCE_S, getaddrinfo=resolver("127.0.0.1"))
    with Receiver() as receiver:
        for host in ("receiver.lan", "a.example.internal", "localhost"):
            assert sender.send(f"http://{host}:{receiver.port}/", {}, b"{}").status == 200
        for host in ("hooks.example.com", "example.internal"):
            assert sender.send(f"http://{host}:{receiver.port}/", {}, b"{}").error == TryError.ADDRESS_REFUSED
        assert len(receiver.requests) == 3


@pytest.mark.parametrize("ip", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1"])
def test_a_trusted_name_does_not_lead_to_metadata(ip: str) -> None:
    """Nothing opens those."""
    policy = Policy(allow_http=True, allowed_hosts=("receiver.lan",))
    sender = WebhookSender(policy, PATIENCE_S, getaddrinfo=resolver(ip))
    assert sender.send("http://receiver.lan/", {}, b"{}").error == TryError.ADDRESS_REFUSED


def local_address() -> str:
    """An address of this machine that is not loopback, or a loopback one where there is no other. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.3"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", "::1", "localhost", "foreman.lan"])
@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2", "localhost", "hooks.example.com"])
def test_nothing_is_sent_to_where_foreman_listens(listening: str, name: str) -> None:
    """However its API is bound, and by whatever name or address of this machine it is called."""
    with Receiver() as foreman, Receiver() as neighbour:
        policy = Policy(
            allow_http=True,
            allowed_nets=(ip_network("0.0.0.0/0"), ip_network("::/0")),
            own=(Listener(listening, foreman.port),),
        )
        for ip in ("127.0.0.1", local_address()):
            sender = WebhookSender(policy, PATIENCE_S, getaddrinfo=resolver(ip))
            assert sender.send(f"http://{name}:{foreman.port}/", {}, b"{}").error == TryError.ADDRESS_REFUSED
            assert sender.send(f"http://127.0.0.1:{neighbour.port}/", {}, b"{}").status == 200
        assert foreman.requests == []


def test_what_foreman_uses_on_another_machine_is_not_called() -> None:
    """A Redis that the settings know by one name is not reached by another, nor by its address."""
    names = resolver("10.255.255.1")
    policy = Policy(
        allow_http=True, allowed_nets=(ip_network("10.0.0.0/8"),), own=(Listener("redis.example.com", 6379),)
    )
    sender = WebhookSender(policy, PATIENCE_S, getaddrinfo=names)
    for host in ("redis.example.com", "hooks.example.com", "10.255.255.1"):
        assert sender.send(f"http://{host}:6379/", {}, b"{}").error == TryError.ADDRESS_REFUSED


def test_a_public_receiver_costs_no_second_look_up() -> None:
    """The upstream's port may be 443, as nearly every receiver's is: its address is not asked for each time."""
    names = resolver("1.1.1.1")
    policy = Policy(own=(Listener("llm.example.com", 443),))
    assert not isinstance(resolve(target("https://h.example.com/"), policy, monotonic() + PATIENCE_S, names), TryError)
    assert names.asked == 1


def test_localhost_is_loopback_without_a_resolver() -> None:
    """``localhost`` works where loopback is opened, whatever a hosts file adds to it."""
    with Receiver() as receiver:
        sender = WebhookSender(LOOPBACK, PATIENCE_S, getaddrinfo=resolver("93.184.215.14"))
        assert sender.send(f"http://localhost:{receiver.port}/", {}, b"{}").status == 200


def test_a_dead_address_does_not_hide_a_live_one() -> None:
    """A name with several addresses is reached at the next when the first refuses."""
    with Receiver() as receiver:
        sender = WebhookSender(LOOPBACK, PATIENCE_S, getaddrinfo=resolver("127.0.0.2", "127.0.0.1"))
        assert send_within_bounds(sender, f"http://hooks.example.com:{receiver.port}/").status == 200


def test_a_name_that_does_not_resolve_is_an_outcome() -> None:
    """A failed look-up is a failed try like any other."""

    def fails(*_args: Any, **_kwargs: Any) -> Sequence[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    sender = WebhookSender(LOOPBACK, PATIENCE_S, getaddrinfo=fails)
    assert send_within_bounds(sender, "http://hooks.example.com/").error == TryError.DNS


def test_a_slow_resolver_cannot_hold_the_sender() -> None:
    """A look-up that blocks for ever ends the try at its deadline."""
    over = threading.Event()

    def hangs(*_args: Any, **_kwargs: Any) -> Sequence[tuple[Any, ...]]:
        over.wait()
        raise OSError(errno.EIO, "too late")

    sender = WebhookSender(LOOPBACK, TIMEOUT_S, getaddrinfo=hangs)
    assert send_within_bounds(sender, "http://hooks.example.com/").error == TryError.DNS
    over.set()


def test_every_address_is_kept_in_the_resolvers_order() -> None:
    """The system's order of preference (RFC 6724) decides which is tried first."""
    places = resolve(target("https://h.example.com/"), Policy(), monotonic() + 60, resolver("2606:4700::1", "1.1.1.1"))
    assert not isinstance(places, TryError)
    assert [place.sockaddr for place in places] == [("2606:4700::1", 443), ("1.1.1.1", 443)]
