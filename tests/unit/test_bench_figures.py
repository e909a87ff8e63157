from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import chart, figures
from tests.bench.figures import Figures, Row, Target


def _row(paired: bool = True, **sides: list[float]) -> Row:  # noqa: FBT001, FBT002  the row's own word
    return Row("Jobs", "jobs", "a second", dict(sides), [Target("≥", 2, "floor"), Target("≥", 10, "peer")], "", paired)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A load that falls on one round falls on both of its sides: 10/5, 2/1 and 9/3 make 2, not 9/3."""
    assert _row(foreman=[10, 2, 9], floor=[5, 1, 3]).ratio("floor") == 2


def test_a_ratio_of_what_did_not_take_turns_is_that_of_the_medians() -> None:
    """Where one side's fastest is not the other's, pairs would say nothing."""
    assert _row(paired=False, foreman=[1, 9, 4], floor=[1, 2, 3]).ratio("floor") == 2


@pytest.mark.parametrize(("target", "met"), [(Target("≥", 2), False), (Target("≤", 2), True), (Target("≥", 1.5), True)])
def test_a_target_is_met_on_its_side_of_the_bound(target: Target, *, met: bool) -> None:
    """1.5 is at most 2 and at least 1.5."""
    assert target.met(1.5) is met


def test_a_peer_that_was_left_out_misses_no_target() -> None:
    """It shows as a dash, and nothing is claimed of it."""
    row = _row(foreman=[4.0], floor=[2.0])
    assert not row.missed
    assert figures.cells(row) == [
        ("jobs", "a second", "4.00", "floor 2.00", "2.00", "≥ 2", "yes"),
        ("", "", "", "peer —", "", "≥ 10", ""),
    ]


def test_a_target_for_the_figure_itself_stands_in_its_own_line() -> None:
    """It is not taken for one of the side that the line is about."""
    row = Row("Idle", "wait", "ms", {"foreman": [6.0], "peer": [3.0]}, [Target("≤", 5)])
    assert row.missed
    assert figures.cells(row) == [
        ("wait", "ms", "6.00", "", "", "≤ 5", "no"),
        ("", "", "", "peer 3.00", "2.00", "", ""),
    ]


def test_figures_are_read_back_as_they_were_saved(tmp_path: Path) -> None:
    """What a document shows is what was measured."""
    made = Figures("two processors", short=True, seconds=3, rows=[_row(foreman=[4.0], floor=[2.0])])
    made.save(tmp_path / "a" / "figures.json")
    assert figures.load(tmp_path / "a" / "figures.json") == made


@pytest.mark.parametrize(
    ("value", "shown"), [(0.714, "0.71"), (4.916, "4.92"), (38.06, "38.1"), (1240.4, "1,240"), (-0.3, "-0.30")]
)
def test_numbers_have_no_more_digits_than_they_are_worth(value: float, shown: str) -> None:
    """Three of them."""
    assert figures.number(value) == shown


def test_the_plot_draws_what_is_better_to_the_right() -> None:
    """A rate above its target and a time below it both reach to the right of the middle."""
    rate = Row("a", "rate", "a second", {"foreman": [9.0], "floor": [3.0]}, [Target("≥", 2, "floor")])
    time = Row("b", "time", "ms", {"foreman": [9.0]}, [Target("≤", 2)])
    drawn = chart.svg(Figures("m", short=False, seconds=1, rows=[rate, time]))
    assert drawn.count("#2a7d4f") == drawn.count("#b3412e") == 1
    assert "rate ÷ floor" in drawn


def test_rows_that_were_not_measured_anew_stay() -> None:
    """Some of the benchmark can be run again; the tables keep their order."""
    old, new = _row(foreman=[1.0]), _row(foreman=[2.0])
    idle = Row("Submissions", "accepted", "a second", {"foreman": [5.0]})
    before = Figures("m", short=False, seconds=3, rows=[old, idle])
    made = figures.merged(before, Figures("m", short=False, seconds=4, rows=[new]))
    assert (made.rows, made.seconds) == ([idle, new], 7)


def test_a_document_shows_each_group_as_a_table() -> None:
    """With its notes, in Markdown."""
    row = Row("Jobs", "jobs", "a second", {"foreman": [4.0], "floor": [2.0]}, [Target("≥", 2, "floor")], "Only some.")
    shown = figures.markdown(Figures("m", short=False, seconds=1, rows=[row]))
    assert "### Jobs" in shown
    assert "| jobs | a second | 4.00 | floor 2.00 | 2.00 | ≥ 2 | yes |" in shown
    assert shown.endswith("jobs: Only some.\n")
