from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from foreman import clock


def test_now_counts_milliseconds_since_the_epoch() -> None:
    """Not seconds, not microseconds: every stored moment depends on it."""
    before = time.time() * 1000
    assert before - 1 <= clock.now() <= time.time() * 1000


@pytest.mark.parametrize("spread", [0.0, 0.2, 1.0])
def test_jitter_stays_within_its_spread(spread: float) -> None:
    """A retry comes neither earlier nor later than the settings allow."""
    factors = [clock.jitter(spread) for _ in range(1000)]
    assert 1 - spread <= min(factors) <= max(factors) <= 1 + spread


def test_ids_are_ulids_that_sort_by_time() -> None:
    """Newest-first listing is keyset paging over ids."""
    first = clock.new_id()
    start = clock.now()
    while clock.now() == start:
        pass
    second = clock.new_id()
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", first)
    assert first < second


def test_processes_make_ids_of_their_own() -> None:
    """The web workers are forks of one, which has loaded the dice and thrown none."""
    code = "import os; from foreman.clock import new_id; os.fork() and os.wait(); print(new_id(1), flush=True)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(made)) == 2


def test_monotonic_never_steps_back() -> None:
    """Deadlines are counted with it."""
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_an_id_is_of_the_moment_that_it_is_made_for() -> None:
    """All ids of one millisecond lie between that one's first and the next one's; before the epoch there are none."""
    moment = 1_700_000_000_000
    assert clock.first_id(moment) < clock.new_id(moment) < clock.first_id(moment + 1) < clock.new_id(moment + 1)
    assert clock.first_id(-1) == clock.first_id(0) < clock.new_id(0)
