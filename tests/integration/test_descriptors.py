"""A process that has no descriptor left: whoever calls somebody is told so, and nothing is raised or left open."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_network

import pytest

from foreman.domain.address import Policy
from foreman.domain.delivery import TryError
from foreman.domain.fault import Fault
from foreman.net.origin import parse
from foreman.net.passthrough import Passthrough
from foreman.net.upstream import make_upstream
from foreman.net.webhooks import WebhookSender

LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))


@contextmanager
def starved(spare: int) -> Iterator[None]:
    """Leave this process ``spare`` descriptors that it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 32, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(spare):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens, and leaves it to the kernel to accept: that takes no descriptor of this process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_try_without_a_descriptor_is_one_that_failed(port: int, scheme: str, spare: int) -> None:
    """There is none for the connection, or none for whoever watches over it."""
    sender = WebhookSender(LOOPBACK, 5.0)
    with starved(spare):
        attempt = sender.send(f"{scheme}://127.0.0.1:{port}/", {}, b"{}")
    assert (attempt.status, attempt.error) == (None, TryError.TOO_MANY_FILES)


@pytest.mark.parametrize("spare", [0, 1])
def test_a_request_that_is_handed_on_without_a_descriptor_has_no_answer(port: int, spare: int) -> None:
    """It is refused like one to an upstream that is away, so that the next upstream may be asked."""
    way = Passthrough(parse(f"http://127.0.0.1:{port}"), 5.0, total_s=5.0, silence_s=5.0)
    with closing(way.passage()) as passage:
        with starved(spare):
            outcome = passage.ask("GET", "/api/tags", None, {})
        assert isinstance(outcome, Fault)
        assert not outcome.began


@pytest.mark.parametrize("spare", [0, 1])
def test_a_run_without_a_descriptor_waits_for_its_upstream(port: int, spare: int) -> None:
    """Nothing was sent, so the job stays where it is."""
    with make_upstream("ollama", f"http://127.0.0.1:{port}", 5.0).call() as call:
        with starved(spare):
            outcome = call.connect()
        assert isinstance(outcome, Fault)
        assert (outcome.retry, outcome.began) == (True, False)
