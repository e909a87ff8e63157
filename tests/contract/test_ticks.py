from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from foreman.domain.job import Moment
from foreman.queue.messages import prune, sweep
from foreman.queue.ticks import BACKLOG, Tick, run
from tests.queues import Engine, eventually, fake_engine, valkey_engine
from tests.valkey import ValkeyServer

SENT = "foreman:periodic"


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


class HandClock:
    """A wall clock that stands still until it is moved."""

    def __init__(self, now: Moment) -> None:
        self.now = now

    def __call__(self) -> Moment:
        """The moment it shows."""
        return self.now


@contextmanager
def ticking(engine: Engine, ticks: tuple[Tick, ...], *, clocks: int = 1, **options: HandClock) -> Iterator[None]:
    """So many clock processes, in threads."""
    stop = threading.Event()
    threads = [threading.Thread(target=run, args=(engine.broker(), ticks, stop), kwargs=options) for _ in range(clocks)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)


def slots(engine: Engine, name: str) -> list[int]:
    """The intervals that some clock has taken, in order."""
    keys = cast("list[bytes]", engine.client.keys(f"foreman:tick:{name}:*"))
    return sorted(int(key.rsplit(b":", 1)[1]) for key in keys)


def test_three_clocks_send_each_tick_once(engine: Engine) -> None:
    """However many clock processes run, each interval gets one message, and none is left out."""
    hand = HandClock(1_700_000_000_000)
    with ticking(engine, (Tick("sweep", 0.1, sweep()),), clocks=3, now=hand):
        for number in range(8):
            taken = [17_000_000_000 + each for each in range(number + 1)]
            eventually(lambda taken=taken: slots(engine, "sweep") == taken)  # type: ignore[misc]
            hand.now += 100
    assert engine.client.llen(SENT) == len(slots(engine, "sweep"))


def test_each_tick_has_its_own_interval(engine: Engine) -> None:
    """A slow tick is neither sent with every fast one nor held up by it."""
    with ticking(engine, (Tick("sweep", 0.1, sweep()), Tick("prune", 3600, prune()))):
        eventually(lambda: len(slots(engine, "sweep")) >= 4)
    assert len(slots(engine, "prune")) in {1, 2}  # 2 when the test runs over a full hour
    assert engine.client.llen(SENT) == len(slots(engine, "sweep")) + len(slots(engine, "prune"))


def test_ticks_that_nobody_takes_do_not_pile_up(engine: Engine) -> None:
    """The intervals go on, and the messages when somebody takes them again: one sweep makes up for any number."""
    hand = HandClock(1_700_000_000_000)
    with ticking(engine, (Tick("sweep", 0.1, sweep()),), now=hand):
        for number in range(BACKLOG + 5):
            eventually(lambda number=number: len(slots(engine, "sweep")) == number + 1)  # type: ignore[misc]
            hand.now += 100
        eventually(lambda: len(slots(engine, "sweep")) == BACKLOG + 6)
        assert engine.client.llen(SENT) == BACKLOG
        engine.client.delete(SENT)
        hand.now += 100
        eventually(lambda: engine.client.llen(SENT) > 0)


def test_a_clock_that_starts_again_does_not_repeat_a_tick(engine: Engine) -> None:
    """A restart within the interval finds the slot taken."""
    hand = HandClock(1_700_000_000_000)
    for _ in range(2):
        with ticking(engine, (Tick("sweep", 60, sweep()),), now=hand):
            eventually(lambda: slots(engine, "sweep") == [28333333])
    with ticking(engine, (Tick("sweep", 60, sweep()), Tick("done", 60, sweep())), now=hand):
        eventually(lambda: len(slots(engine, "done")) == 1)
    assert engine.client.llen(SENT) == 2


def test_a_clock_stops_promptly(engine: Engine) -> None:
    """It does not sleep out its interval."""
    with ticking(engine, (Tick("prune", 3600, prune()),)):
        eventually(lambda: bool(slots(engine, "prune")))
        began = time.monotonic()
    assert time.monotonic() - began < 5
