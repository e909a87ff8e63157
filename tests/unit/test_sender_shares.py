from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.delivery import Attempt, TryError
from foreman.domain.sender_shares import PROMPT_MS, Pace, Share, doubtful_senders, pace_after


def grabbed(senders: int, asks: list[int], pace: Pace = Pace.PROMPT) -> Counter[int]:
    """Who holds how many when origins ask for senders in this order, and give none back."""
    held: Counter[int] = Counter()
    for origin in asks:
        if Share(senders, held.total(), held[origin]).has_room(pace):
            held[origin] += 1
    return held


@given(senders=st.integers(1, 64), asks=st.lists(st.integers(1, 20), max_size=200))
def test_a_quarter_of_the_senders_is_left_to_those_that_hold_none(senders: int, asks: list[int]) -> None:
    """In whatever order origins grab: beyond that each has taken one at most, so others find one."""
    held = grabbed(senders, asks)
    free = senders - held.total()
    assert free >= min(senders // 4 + 2 - len(held), senders - len(held))
    assert Share(senders, held.total(), 0).has_room(Pace.UNKNOWN) is (free > 0)


@pytest.mark.parametrize(("origins", "most", "free"), [(1, 12, 20), (2, 8, 16), (3, 6, 14), (8, 3, 10), (15, 2, 9)])
def test_greedy_origins_that_take_turns_share_alike(origins: int, most: int, free: int) -> None:
    """Of 32 senders each holds about the same, and more than a quarter stays free."""
    held = grabbed(32, [number % origins for number in range(1000)])
    assert (max(held.values()), 32 - held.total()) == (most, free)


def test_eight_origins_that_go_silent_one_after_the_other_leave_senders_free() -> None:
    """Each grabs what it can before the next one does, up to its cap of 8."""
    held = grabbed(32, [number for number in range(8) for _ in range(8)])
    assert [held[number] for number in range(8)] == [8, 8, 4, 2, 1, 1, 1, 1]


def test_strangers_hold_one_each() -> None:
    """However few there are."""
    assert grabbed(32, [1, 1, 1, 2, 2], Pace.UNKNOWN) == {1: 1, 2: 1}


@pytest.mark.parametrize(("senders", "share", "doubtful"), [(32, 0.5, 16), (32, 1.0, 32), (32, 0.0, 1), (1, 0.5, 1)])
def test_doubtful_tries_have_their_share_and_one_sender_at_least(senders: int, share: float, doubtful: int) -> None:
    """Else nothing that has failed once would ever be tried again."""
    assert doubtful_senders(senders, share) == doubtful


@pytest.mark.parametrize(
    ("attempt", "pace"),
    [
        (Attempt(200, None, None, "", PROMPT_MS), Pace.PROMPT),
        (Attempt(500, None, None, "", 3), Pace.PROMPT),
        (Attempt(200, None, None, "", PROMPT_MS + 1), Pace.SLOW),
        (Attempt(None, TryError.REFUSED, None, "", 1), Pace.UNKNOWN),
    ],
)
def test_standing_is_how_long_a_sender_is_held_by_somebody_who_is_there(attempt: Attempt, pace: Pace) -> None:
    """Whatever the answer."""
    assert pace_after(attempt) is pace
