"""Submissions that meet, on a real store and a real Redis: one trip for all, and nobody waits long while it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foreman.domain.api_key import ANYBODY
from foreman.domain.job import JobRequest
from foreman.queue import messages
from foreman.queue.announcer import Announcer
from foreman.queue.broker import make_broker
from foreman.queue.messages import Messenger
from foreman.services.submit import Submitter
from foreman.store.arrivals import _ROUNDS
from foreman.store.database import is_postgres
from foreman.store.jobs import Jobs
from foreman.store.outbox import Outbox
from foreman.store.room import Room
from foreman.tally import Tally
from foreman.traces import Tracer
from tests.databases import SESSION
from tests.integration.api import Unwatched
from tests.meeting import meeting
from tests.stores import PATIENCE_S, opened, quiet, request, together, wait_until
from tests.valkey import ValkeyServer

#: Seconds that a frozen Redis costs whoever finds out: it took the connection, and the reply is waited for.
REPLY_S = 1.0

#: Seconds in which nobody asks again, and some more.
PAUSE_S = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Redis for the messages."""
    with ValkeyServer(tmp_path / "valkey") as running:
        yield running


class Ahead:
    """The clock of the circuit, so many seconds ahead."""

    ahead_s = 0.0

    def __call__(self) -> float:
        """Seconds, as ``time.monotonic``."""
        return time.monotonic() + self.ahead_s


@pytest.fixture
def monotonic() -> Ahead:
    """Not ahead yet."""
    return Ahead()


@pytest.fixture
def submitter(server: ValkeyServer, monotonic: Ahead, tmp_path: Path) -> Iterator[Submitter]:
    """What ``POST /jobs`` calls, on an empty database."""
    broker = make_broker(server.url)
    with opened(SESSION.engine, SESSION.new(tmp_path / "foreman.db")):
        jobs = Jobs(Outbox("http://foreman.example", 100), Room(1000))
        yield Submitter(jobs, Announcer(Messenger(broker, monotonic=monotonic), Unwatched(), Tally()), Tracer())
    broker.close()


@contextmanager
def frozen(server: ValkeyServer) -> Iterator[None]:
    """It takes connections and never answers."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def submit(submitter: Submitter, asked: JobRequest, key: str | None = None) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    submitter.submit(asked, key, ANYBODY)
    return time.monotonic() - began


def test_the_messages_of_jobs_that_are_committed_together_make_one_trip(
    submitter: Submitter, server: ValkeyServer
) -> None:
    """A permit and a wake-up for each of ten, in as many calls of Redis as there were commits."""
    submit(submitter, request())  # its first call has the script loaded
    with server.client() as client:
        client.config_resetstat()
        with meeting(10):
            together(10, lambda _: submit(submitter, request()))
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        waiting = [client.llen(f"foreman:{address.queue}") for address in (messages.RUN, messages.DELIVER)]
    assert waiting == [11, 11]
    assert calls <= (10 if is_postgres() else 2)


def test_while_redis_is_away_one_submission_waits_for_it_and_not_those_committed_with_it(
    submitter: Submitter, server: ValkeyServer, monotonic: Ahead
) -> None:
    """Whoever finds out whether it is back does so for a second, and alone."""
    submit(submitter, quiet(), "known")
    with frozen(server):
        submit(submitter, quiet())
        monotonic.ahead_s += PAUSE_S  # it is over, and the next one is let in
        with meeting(10):
            # It is committed alone, and tells nobody: the others are a round.
            first = threading.Thread(target=submit, args=(submitter, quiet(), "known"))
            first.start()
            wait_until(lambda: is_postgres() or _ROUNDS._led)
            took_s = sorted(together(9, lambda _: submit(submitter, request())))
        first.join(PATIENCE_S)
    assert took_s[-1] - took_s[-2] > REPLY_S / 2, took_s
