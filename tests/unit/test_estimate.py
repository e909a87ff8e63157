from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.estimate import OVERDUE, Run, Times, left_ms, mean, shown_s, until_done_ms
from foreman.domain.line import Order, Prospect, Share

#: A run of ``a`` takes 2 s, one of ``b`` 10 s; loading them 30 s and 50 s. ``c`` was never loaded, ``d`` never run.
TIMES: Mapping[str, Times] = {"a": Times(30_000, 2_000), "b": Times(50_000, 10_000), "c": Times(None, 1_000)}


def waiting_for(own: Share, *others: Share) -> Prospect:
    """A prospect that no bound changes."""
    return Prospect(Order(others, own), Order(others, own), 10**9)


ROWS = {
    "next, warm": (waiting_for(Share("a", 1, 0)), [0], 2),
    "next, cold": (waiting_for(Share("a", 1, 1)), [0], 30 + 2),
    "the slot is not free yet": (waiting_for(Share("a", 1, 0)), [7_000], 7 + 2),
    "the sooner of two slots": (waiting_for(Share("a", 1, 0)), [7_000, 3_000], 3 + 2),
    "three of its like": (waiting_for(Share("a", 4, 0)), [0], 4 * 2),
    "three of its like, of which the first loads": (waiting_for(Share("a", 4, 1)), [0], 30 + 4 * 2),
    "four jobs over two slots": (waiting_for(Share("a", 4, 0)), [0, 0], 2 * 2),
    "five jobs over two slots": (waiting_for(Share("a", 5, 0)), [0, 0], 3 * 2),
    "slots that are free one after the other": (waiting_for(Share("a", 3, 0)), [0, 3_000], 3 + 2),
    "behind two of another model": (waiting_for(Share("a", 1, 1), Share("b", 2, 0)), [0], 2 * 10 + 30 + 2),
    "behind another model that must be loaded": (
        waiting_for(Share("a", 1, 1), Share("b", 2, 1)),
        [0],
        50 + 20 + 30 + 2,
    ),
    "half a load": (waiting_for(Share("a", 1, 0.5)), [0], 15 + 2),
    "one load and a half": (waiting_for(Share("a", 3, 1.5)), [0], 30 + 15 + 3 * 2),
    "ten thousand": (waiting_for(Share("a", 10_000, 0)), [0, 0, 0, 0], 2_500 * 2),
    "no slot is known": (waiting_for(Share("a", 1, 0)), [], None),
    "its model never ran": (waiting_for(Share("d", 1, 0)), [0], None),
    "its model was never loaded, and must be": (waiting_for(Share("c", 1, 1)), [0], None),
    "its model was never loaded, and need not be": (waiting_for(Share("c", 1, 0)), [0], 1),
    "one before it never ran": (waiting_for(Share("a", 1, 0), Share("d", 1, 0)), [0], None),
}


@pytest.mark.parametrize(("prospect", "free_in_ms", "expected_s"), ROWS.values(), ids=ROWS)
def test_what_is_ahead_is_spread_over_the_slots(
    prospect: Prospect, free_in_ms: list[float], expected_s: float | None
) -> None:
    """Each row is arithmetic that can be done by hand."""
    found = until_done_ms(prospect, free_in_ms, TIMES, ready_in_ms=0)
    assert found == (None if expected_s is None else expected_s * 1000)


def test_a_job_that_waits_for_its_next_run_is_not_done_before_it() -> None:
    """Whatever the slots are up to."""
    assert until_done_ms(waiting_for(Share("a", 1, 0)), [0], TIMES, ready_in_ms=60_000) == 62_000
    assert until_done_ms(waiting_for(Share("a", 1, 0)), [90_000], TIMES, ready_in_ms=60_000) == 92_000


def test_an_overdue_job_does_not_wait_for_all_that_is_in_memory() -> None:
    """A thousand runs of 10 s go first, but after 300 s age decides, and then nobody: 300 + 30 + 2 s."""
    own = Share("a", 1, 1)
    prospect = Prospect(Order((Share("b", 1_000, 0),), own), Order((), own), 300_000)
    assert until_done_ms(prospect, [0], TIMES, ready_in_ms=0) == 332_000
    later = replace(prospect, overdue_in_ms=20_000_000)
    assert until_done_ms(later, [0], TIMES, ready_in_ms=0) == 10_032_000


RUNS = {
    "begun just now": (Run(1_000, loads=False), 1_000, 10_000),
    "half way": (Run(1_000, loads=False), 6_000, 5_000),
    "loading": (Run(1_000, loads=True), 6_000, 55_000),
    "as long as expected": (Run(1_000, loads=False), 11_000, 0),
    "a little longer": (Run(1_000, loads=False), 15_000, 0),
    "twice as long, which is as far as hope goes": (Run(1_000, loads=False), 1_000 + OVERDUE * 10_000, 0),
    "longer than that": (Run(1_000, loads=False), 1_001 + OVERDUE * 10_000, None),
    "before it began, by another clock": (Run(1_000, loads=False), 900, 10_100),
}


@pytest.mark.parametrize(("run", "now", "expected"), RUNS.values(), ids=RUNS)
def test_what_is_left_of_a_run(run: Run, now: int, expected: float | None) -> None:
    """Never less than nothing, and nothing is claimed once the mean has proved wrong."""
    assert left_ms(run, TIMES["b"], now) == expected


def test_a_run_whose_model_was_never_measured_ends_nobody_knows_when() -> None:
    """Neither with nor without a load."""
    assert left_ms(Run(0, loads=False), Times(1, None), 0) is None
    assert left_ms(Run(0, loads=True), TIMES["c"], 0) is None
    assert left_ms(Run(0, loads=False), TIMES["c"], 0) == 1_000


def test_several_upstreams_are_averaged_as_far_as_they_were_measured() -> None:
    """Each counts the same."""
    assert mean([Times(10, 4), Times(None, 8), Times(30, None)]) == Times(20, 6)
    assert mean([]) == Times(None, None)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(None, None), (0, 0), (43, 0.0), (449, 0.4), (9_940, 9.9), (42_300, 42), (345_678, 350), (7_654_321, 7_700)],
)
def test_an_estimate_is_shown_with_two_digits(ms: float | None, shown: float | None) -> None:
    """More would claim to know more."""
    assert shown_s(ms) == shown


# ------------------------------------------------------------------------------------------------------ properties

SHARES = st.builds(
    lambda model, jobs, loads: Share(model, jobs, min(loads, jobs)),
    st.sampled_from("ab"),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.5, 1.0, 2.75]),
)
SLOTS = st.lists(st.integers(0, 200_000), min_size=1, max_size=5)


def by_hand(prospect: Prospect, free_in_ms: list[int]) -> float:
    """The same, job by job and without a shortcut."""
    slots, done = [float(free) for free in free_in_ms], 0.0
    for share in (*prospect.order.others, *backwards(prospect.order.own)):
        times, loads = TIMES[share.model], share.loads
        for _ in range(share.jobs):
            slots.sort()
            done = slots[0] + (times.run_ms or 0) + min(loads, 1) * (times.load_ms or 0)
            slots[0], loads = done, loads - min(loads, 1)
    return done


def backwards(share: Share) -> list[Share]:
    """The jobs of a share one by one, those with a load last."""
    loads = [min(1.0, max(0.0, share.loads - number)) for number in range(share.jobs)]
    return [Share(share.model, 1, each) for each in reversed(loads)]


@given(SHARES, st.lists(SHARES, max_size=4), SLOTS)
def test_the_shortcut_comes_to_what_going_job_by_job_does(own: Share, others: list[Share], free: list[int]) -> None:
    """Slots that are in step are given their jobs in one go, and nothing changes by it."""
    prospect = waiting_for(own, *others)
    assert until_done_ms(prospect, free, TIMES, ready_in_ms=0) == pytest.approx(by_hand(prospect, free))


@given(SHARES, st.lists(SHARES, min_size=1, max_size=4), SLOTS, st.data())
def test_more_ahead_never_makes_it_sooner(
    own: Share, others: list[Share], free: list[int], data: st.DataObject
) -> None:
    """One more job, anywhere, or one more load; and nothing is ever below 0."""
    before = until_done_ms(waiting_for(own, *others), free, TIMES, ready_in_ms=0)
    index = data.draw(st.integers(0, len(others) - 1))
    share = others[index]
    more = replace(share, jobs=share.jobs + 1, loads=share.loads + data.draw(st.sampled_from([0, 0.25, 1])))
    longer = [*others[:index], more, *others[index + 1 :]]
    after = until_done_ms(waiting_for(own, *longer), free, TIMES, ready_in_ms=0)
    again = until_done_ms(waiting_for(replace(own, jobs=own.jobs + 1), *others), free, TIMES, ready_in_ms=0)
    assert before is not None
    assert after is not None
    assert again is not None
    assert 0 <= before <= after + 1e-6
    assert before <= again + 1e-6


@given(SHARES, st.lists(SHARES, max_size=4), SLOTS)
def test_more_slots_never_make_it_later(own: Share, others: list[Share], free: list[int]) -> None:
    """A slot that is free now, besides the others."""
    fewer = until_done_ms(waiting_for(own, *others), free, TIMES, ready_in_ms=0)
    more = until_done_ms(waiting_for(own, *others), [*free, 0], TIMES, ready_in_ms=0)
    assert fewer is not None
    assert more is not None
    assert more <= fewer + 1e-6


@given(SHARES, st.lists(SHARES, max_size=3), SLOTS, st.sets(st.sampled_from(["run a", "run b", "load a", "load b"])))
def test_it_is_null_exactly_when_a_needed_time_is_not_known(
    own: Share, others: list[Share], free: list[int], unknown: set[str]
) -> None:
    """A run of every model ahead, and a load of those that are loaded."""
    times = {
        model: Times(
            None if f"load {model}" in unknown else known.load_ms, None if f"run {model}" in unknown else known.run_ms
        )
        for model, known in TIMES.items()
    }
    shares = (own, *others)
    needed = {f"run {share.model}" for share in shares} | {f"load {share.model}" for share in shares if share.loads}
    assert (until_done_ms(waiting_for(own, *others), free, times, ready_in_ms=0) is None) == bool(needed & unknown)
