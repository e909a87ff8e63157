from __future__ import annotations

import pytest

from foreman.domain import finding
from foreman.domain.endpoint import Endpoint
from foreman.domain.finding import Level
from foreman.domain.upstream import Survey


@pytest.mark.parametrize(
    ("offset_ms", "level"),
    [(0, Level.OK), (-999, Level.OK), (1_000, Level.WARNING), (-10_000, Level.WARNING), (10_001, Level.PROBLEM)],
)
def test_clocks_may_differ_by_a_second_and_never_by_ten(offset_ms: int, level: Level) -> None:
    """Ten seconds apart, running jobs are taken for lost."""
    assert finding.clock(offset_ms, "Redis's").level is level


def test_which_clock_is_ahead_is_said() -> None:
    """Whoever reads it knows which way to turn."""
    assert "61 s ahead of Redis's" in finding.clock(61_000, "Redis's").detail
    assert "61 s behind Redis's" in finding.clock(-61_000, "Redis's").detail


def test_a_clock_that_was_set_back_is_found_by_what_was_seen_before() -> None:
    """Within the tolerance it is no finding, and without a moment to compare with neither."""
    found = finding.setback(1_000_000, 1_060_000, "it")
    assert found is not None
    assert found.level is Level.PROBLEM
    assert finding.setback(1_000_000, 1_010_000, "it") is None
    assert finding.setback(1_000_000, None, "it") is None


@pytest.mark.parametrize(
    ("patterns", "available", "level"),
    [
        ((), ("llama3.2:1b",), Level.OK),
        ((), (), Level.PROBLEM),
        ((), None, Level.WARNING),
        (("llama3*",), ("llama3.2:1b", "qwen3"), Level.OK),
        (("llama3*",), ("qwen3",), Level.PROBLEM),
    ],
)
def test_an_upstream_without_the_models_it_is_there_for_is_a_problem(
    patterns: tuple[str, ...], available: tuple[str, ...] | None, level: Level
) -> None:
    """It answers, and yet no job can be done there; one that does not say what it has may be anything."""
    endpoint = Endpoint("default", "http://127.0.0.1:11434", models=patterns)
    assert finding.models(endpoint, Survey(available)).level is level


@pytest.mark.parametrize(
    ("free_b", "level"), [(1 << 31, Level.OK), ((1 << 30) - 1, Level.WARNING), ((128 << 20) - 1, Level.PROBLEM)]
)
def test_a_disk_is_told_of_before_it_is_full(free_b: int, level: Level) -> None:
    """While there is still time to do something."""
    assert finding.disk("/var/lib/foreman", free_b).level is level
