from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from foreman.rounds import Rounds
from tests.stores import together, wait_until


class Doer:
    """Notes each round, and makes the first last until it is told to end."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.threads: list[int] = []
        self.go_on = threading.Event()
        self.fails = False

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        """The double of each."""
        self.rounds.append(list(items))
        self.threads.append(threading.get_ident())
        if len(self.rounds) == 1:
            assert self.go_on.wait(60)
        if self.fails:
            raise ZeroDivisionError
        return [2 * item for item in items]


def crowd(doer: Doer, rounds: Rounds[int, int], count: int, answered: list[int] | None = None) -> list[int | str]:
    """What became of the items ``0`` … ``count - 1``, of which all but the first came while its round was under way.

    To ``answered`` each is added as soon as its ``ask`` has returned.
    """

    def ask(number: int) -> int | str:
        if number:
            wait_until(lambda: bool(doer.rounds))
        try:
            return rounds.ask(number)
        except ZeroDivisionError as error:
            return type(error).__name__
        finally:
            if answered is not None:
                answered.append(number)

    def open_the_gate() -> None:
        wait_until(lambda: len(rounds._line) == count - 1)
        doer.go_on.set()

    gate = threading.Thread(target=open_the_gate, daemon=True)
    gate.start()
    found = together(count, ask)
    gate.join()
    return found


def test_who_comes_alone_does_its_own() -> None:
    """In its own thread, and at once: nothing waits for company."""
    doer = Doer()
    doer.go_on.set()
    rounds = Rounds(doer, 10)
    assert [rounds.ask(1), rounds.ask(2)] == [2, 4]
    assert doer.rounds == [[1], [2]]
    assert set(doer.threads) == {threading.get_ident()}


def test_those_that_come_meanwhile_are_one_round() -> None:
    """One of them does it for all, and each gets what became of its own."""
    doer = Doer()
    assert crowd(doer, Rounds(doer, 10), 6) == [0, 2, 4, 6, 8, 10]
    assert [sorted(each) for each in doer.rounds] == [[0], [1, 2, 3, 4, 5]]


def test_a_round_has_a_bound_and_nobody_does_two() -> None:
    """What does not fit is the next round's, led by one that waits for it."""
    doer = Doer()
    assert crowd(doer, Rounds(doer, 2), 6) == [0, 2, 4, 6, 8, 10]
    assert [len(each) for each in doer.rounds] == [1, 2, 2, 1]
    assert len(set(doer.threads)) == 4


def test_what_fails_fails_for_its_round_only() -> None:
    """Everybody in it hears of it, and the next one goes on as ever."""
    doer = Doer()
    rounds = Rounds(doer, 10)
    doer.fails = True
    assert crowd(doer, rounds, 4) == ["ZeroDivisionError"] * 4
    with pytest.raises(ZeroDivisionError):
        rounds.ask(1)
    doer.fails = False
    assert rounds.ask(1) == 2


def test_what_follows_a_round_comes_before_its_answers_and_not_before_the_next() -> None:
    """Its thread goes on with it while another round is under way, and nobody of it is answered before."""
    followed: list[tuple[list[int], list[int], int]] = []
    doer = Doer()
    answered: list[int] = []

    def then(items: Sequence[int], results: Sequence[int]) -> None:
        if items == [0]:
            # The next round is led by another thread: it would not begin if it waited for this.
            wait_until(lambda: len(doer.rounds) == 2)
        assert not set(items) & set(answered)
        followed.append((list(items), list(results), threading.get_ident()))

    assert crowd(doer, Rounds(doer, 10, then), 4, answered) == [0, 2, 4, 6]
    assert {(tuple(sorted(items)), tuple(sorted(results))) for items, results, _ in followed} == {
        ((0,), (0,)),
        ((1, 2, 3), (2, 4, 6)),
    }
    assert sorted(doer.threads) == sorted(thread for _, _, thread in followed)


def test_what_fails_after_a_round_fails_for_it_only() -> None:
    """Everybody in it hears of it; nothing follows a round that failed itself."""
    doer = Doer()
    followed: list[list[int]] = []

    def then(items: Sequence[int], _results: Sequence[int]) -> None:
        followed.append(list(items))
        raise ZeroDivisionError

    rounds = Rounds(doer, 10, then)
    assert crowd(doer, rounds, 3) == ["ZeroDivisionError"] * 3
    doer.fails = True
    with pytest.raises(ZeroDivisionError):
        rounds.ask(3)
    assert [sorted(each) for each in followed] == [[0], [1, 2]]


def test_many_threads_at_once_each_get_their_own() -> None:
    """However they meet, none is forgotten and none gets another's."""
    rounds: Rounds[int, int] = Rounds(lambda items: [item + 1 for item in items], 3)

    def ask_often(number: int) -> bool:
        return all(rounds.ask(number * 1000 + each) == number * 1000 + each + 1 for each in range(300))

    assert all(together(8, ask_often))
