from __future__ import annotations

from contextlib import ExitStack

import pytest

from foreman.domain.sender_shares import Pace
from foreman.services.senders import Senders

FIRST_TRY = False


def held(exits: ExitStack, senders: Senders, origin: str, *, retry: bool = False) -> bool:
    """Whether ``origin`` gets one more sender, which it holds until ``exits`` closes."""
    return exits.enter_context(senders.seat()).take(origin, retry)


def test_what_is_unknown_or_slow_holds_its_share_and_no_more() -> None:
    """Forty origins that never answered ask for all of 8 senders: half are kept for one that does answer."""
    senders = Senders(8, 0.5)
    senders.learn("prompt", Pace.PROMPT)
    with ExitStack() as exits:
        assert [held(exits, senders, f"hole{number}") for number in range(40)].count(True) == 4
        assert [held(exits, senders, "prompt") for _ in range(8)] == [True] + [False] * 7


def test_a_stranger_holds_one_sender_until_it_has_answered() -> None:
    """So a black hole costs one, whoever comes first; an answer makes room, and says so once."""
    senders = Senders(32, 0.5)
    with ExitStack() as exits:
        assert [held(exits, senders, "new") for _ in range(3)] == [True, False, False]
        assert [senders.learn("new", Pace.SLOW), senders.learn("new", Pace.PROMPT)] == [True, False]
        assert held(exits, senders, "new")


def test_retries_hold_their_share_and_first_tries_go_on() -> None:
    """Even of origins that answer: what failed once is doubtful."""
    senders = Senders(8, 0.25)
    for origin in "abc":
        senders.learn(origin, Pace.PROMPT)
    with ExitStack() as exits:
        assert [held(exits, senders, origin, retry=True) for origin in "abc"] == [True, True, False]
        assert held(exits, senders, "c")


def test_a_prompt_origin_that_goes_silent_is_doubtful_again() -> None:
    """One try is enough to know."""
    senders = Senders(4, 0.25)
    senders.learn("a", Pace.PROMPT)
    senders.learn("a", Pace.UNKNOWN)
    with ExitStack() as exits:
        assert held(exits, senders, "b")
        assert not held(exits, senders, "a")


def test_who_was_turned_away_is_named_once_longest_waiting_first() -> None:
    """So whoever gives a sender back can wake it."""
    senders = Senders(2, 0.5)
    with ExitStack() as exits:
        assert [held(exits, senders, origin) for origin in ("a", "b", "c", "b")] == [True, False, False, False]
    assert [senders.turned_away() for _ in range(3)] == ["b", "c", None]


def test_a_sender_is_free_again_however_its_try_ended() -> None:
    """Also when recording failed: the place is the thread's, not the event's."""
    senders = Senders(2, 1.0)

    def fails() -> None:
        with senders.seat() as seat:
            assert seat.take("a", FIRST_TRY)
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fails()
    with senders.seat():
        pass  # nothing was taken, and nothing is given back
    with ExitStack() as exits:
        assert held(exits, senders, "b")


def test_a_thread_that_goes_on_asks_anew_and_holds_one_sender() -> None:
    """The one that it held is free for whoever asks first, itself included; refused, it holds none."""
    senders = Senders(2, 0.5)
    with ExitStack() as exits:
        seat = exits.enter_context(senders.seat())
        assert seat.take("a", FIRST_TRY)
        assert seat.take("a", FIRST_TRY)
        assert not held(exits, senders, "b")
        senders.learn("a", Pace.PROMPT)
        assert seat.take("a", FIRST_TRY)
        assert held(exits, senders, "b")
        assert not seat.take("c", FIRST_TRY)
        assert held(exits, senders, "a")


def test_a_thread_knows_whether_others_wait_for_a_sender() -> None:
    """Its own origin does not count: that one it serves already."""
    senders = Senders(2, 0.5)
    with ExitStack() as exits:
        assert held(exits, senders, "a")
        assert not held(exits, senders, "a")
        assert not senders.others_wait("a")
        assert not held(exits, senders, "b")
        assert senders.others_wait("a")
        assert senders.others_wait("b")
        assert [senders.turned_away(), senders.turned_away()] == ["a", "b"]
        assert not senders.others_wait("a")
