"""The crash suite in its short form: every kind of fault, some forty kills, and nothing acknowledged is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import RESTART
from tests.chaos.storm import ALL, Plan, run

#: Seconds of storm at most: bursts of kills and disasters are bounded each, and come to a third of this.
STORM_S = 150.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_storm_loses_reorders_and_alters_nothing(tmp_path: Path, database: str) -> None:
    """Every acknowledged job ends, every event arrives, in order; only unknown outcomes make duplicates."""
    plan = Plan(events=160, kills=40, seed=1, database=database, storm_s=STORM_S, disasters=ALL)
    outcome = run(plan, tmp_path / "fleet", print)
    assert outcome.verdict.kept, outcome
    assert outcome.verdict.events == plan.events, outcome
    assert outcome.counts["killed"] >= plan.kills, outcome
    assert set(outcome.counts) >= {*ALL} - {RESTART}, outcome
