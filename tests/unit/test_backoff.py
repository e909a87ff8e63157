from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.backoff import delay_at, retry_delay_s


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay_s"),
    [
        (1, 1.0, 1),
        (2, 1.0, 2),
        (3, 1.0, 4),
        (6, 1.0, 32),
        (7, 1.0, 60),
        (8, 1.0, 60),
        (100_000, 1.0, 60),
        (3, 0.8, 3.2),
        (9, 1.2, 72),
    ],
)
def test_a_run_waits_twice_as_long_each_time_up_to_a_minute(attempt: int, jitter: float, delay_s: float) -> None:
    """1, 2, 4, … seconds up to the limit, and the jitter spreads the limit too."""
    assert retry_delay_s(attempt, first_s=1, max_s=60, jitter=jitter) == pytest.approx(delay_s)


@given(st.integers(1, 10**9), st.floats(0.001, 3600), st.floats(0.001, 86_400), st.floats(0.8, 1.2))
def test_a_wait_is_within_its_bounds(attempt: int, first_s: float, max_s: float, jitter: float) -> None:
    """However many attempts were made, a wait is neither negative nor over the limit."""
    assert 0 < retry_delay_s(attempt, first_s=first_s, max_s=max_s, jitter=jitter) <= max_s * jitter


@pytest.mark.parametrize(("tries", "delay_s"), [(1, 1.5), (2, 6.0), (3, 30.0), (4, None), (99, None)])
def test_a_schedule_ends_after_its_last_wait(tries: int, delay_s: float | None) -> None:
    """Three waits mean four tries, each wait times the jitter."""
    assert delay_at((1, 4, 20), tries, 1.5) == delay_s


def test_an_empty_schedule_gives_up_at_once() -> None:
    """Without waits there is one try."""
    assert delay_at((), 1, 1.0) is None
