from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

import pytest

from foreman.api.newcomers import COUNTED, FRESH_MS, Newcomers
from foreman.domain.job import Job, Limits, Moment, Priority
from foreman.domain.lifecycle import State
from foreman.errors import StoreUnavailable
from foreman.store.line import Line
from tests.stores import PATIENCE_S, T0, wait_until


@dataclass
class Counting:
    """A line that says the same of every job, and knows how often it was asked."""

    position_of_all: int | None
    asked: int = 0
    #: Counting takes until it is set.
    done: threading.Event = field(default_factory=threading.Event)
    fails: bool = False

    def __post_init__(self) -> None:
        self.done.set()

    def position(self, _job: Job, _now: Moment) -> int | None:
        """The same for all."""
        self.asked += 1
        assert self.done.wait(PATIENCE_S)
        if self.fails:
            raise StoreUnavailable
        return self.position_of_all


def _job(model: str = "m", priority: Priority = Priority.NORMAL) -> Job:
    limits = Limits(60, None, 60, 60, 60, None)
    return Job("J", State.QUEUED, model, priority, {}, limits, None, 0, T0, ((State.QUEUED, T0),), None, None, None, 1)


def _newcomers(line: Counting) -> Newcomers:
    return Newcomers(cast("Line", line))


def test_a_short_line_is_counted_for_each_job() -> None:
    """Its places are exact."""
    line = Counting(COUNTED)
    newcomers = _newcomers(line)
    assert [newcomers.position(_job(), T0) for _ in range(3)] == [COUNTED] * 3
    assert line.asked == 3


def test_who_joins_a_long_line_stands_behind_who_joined_just_before() -> None:
    """One count, and each after it one place further back."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    assert [newcomers.position(_job(), T0 + each) for each in range(3)] == [501, 502, 503]
    assert line.asked == 1


def test_a_long_line_is_counted_again_after_a_moment() -> None:
    """Jobs leave it, and others join it elsewhere; and a clock may be set back."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    newcomers.position(_job(), T0)
    line.position_of_all = 700
    assert newcomers.position(_job(), T0 + FRESH_MS) == 700
    assert newcomers.position(_job(), T0) == 700
    assert line.asked == 3


def test_while_one_counts_anew_the_others_go_by_the_last_count() -> None:
    """A count of a long line takes longer the more of them there are at once."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    newcomers.position(_job(), T0)
    line.done.clear()
    line.position_of_all = 700
    with ThreadPoolExecutor() as pool:
        counted = pool.submit(newcomers.position, _job(), T0 + FRESH_MS)
        wait_until(lambda: line.asked == 2)
        assert [newcomers.position(_job(), T0 + FRESH_MS + each) for each in range(2)] == [502, 503]
        line.done.set()
        assert counted.result(PATIENCE_S) == 700
    assert newcomers.position(_job(), T0 + FRESH_MS) == 701


def test_a_count_that_fails_is_made_by_the_next() -> None:
    """Nobody waits for one that does not come."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    newcomers.position(_job(), T0)
    line.fails = True
    with pytest.raises(StoreUnavailable):
        newcomers.position(_job(), T0 + FRESH_MS)
    line.fails = False
    assert newcomers.position(_job(), T0 + FRESH_MS) == COUNTED + 1


def test_a_line_that_has_become_short_is_counted_for_each_job_again() -> None:
    """Its last long count is forgotten."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    newcomers.position(_job(), T0)
    line.position_of_all = 7
    assert [newcomers.position(_job(), T0 + FRESH_MS) for _ in range(2)] == [7, 7]
    assert line.asked == 3


def test_a_job_of_another_kind_has_a_place_of_its_own() -> None:
    """Another model or priority stands elsewhere."""
    line = Counting(COUNTED + 1)
    newcomers = _newcomers(line)
    for job in (_job(), _job("other"), _job(priority=Priority.BATCH)):
        assert newcomers.position(job, T0) == COUNTED + 1
    assert line.asked == 3


def test_a_line_too_long_to_be_counted_is_not_tried_again_at_once() -> None:
    """Finding that out costs as much as any count."""
    line = Counting(None)
    newcomers = _newcomers(line)
    assert [newcomers.position(_job(), T0) for _ in range(3)] == [None] * 3
    assert line.asked == 1
