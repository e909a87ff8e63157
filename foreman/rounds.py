"""What several threads want done at once is done in rounds: one of them does it for all that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Place(Generic[T, R]):
    """A thread's item in line, and what became of it."""

    item: T
    #: Held until the item's round is over or its thread is to lead one.
    turn: threading.Lock = field(default_factory=threading.Lock)
    result: R | None = None
    error: BaseException | None = None
    over: bool = False


class Rounds(Generic[T, R]):
    """Makes one call of many: a thread that comes while another is at it waits, and the first of those goes next.

    Whoever comes alone does its own at once, so nothing waits for company; and nobody does more than one round, so
    that no thread works for the others for ever. Safe to share between threads, and to create before a fork.
    """

    def __init__(
        self,
        do: Callable[[Sequence[T]], Sequence[R]],
        most: int,
        then: Callable[[Sequence[T], Sequence[R]], None] | None = None,
    ) -> None:
        """``do`` returns what became of each of at most ``most`` items, in their order; what it raises is for all.

        ``then`` is called with both when ``do`` has raised nothing, in its thread, before anybody's ``ask`` returns;
        the next round does not wait for it. What it raises is for all, too.
        """
        self._do = do
        self._most = most
        self._then = then
        self._lock = threading.Lock()
        self._line: list[_Place[T, R]] = []
        self._led = False

    def ask(self, item: T) -> R:
        """What became of ``item``, once its round is over.

        Raises:
            BaseException: what was raised for its round.
        """
        mine: _Place[T, R] = _Place(item)
        with self._lock:
            self._line.append(mine)
            follows, self._led = self._led, True
            if follows:
                mine.turn.acquire()
        if follows:
            mine.turn.acquire()
        if not mine.over:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]  # a round that raised nothing has one for each of its items

    def _lead(self, mine: _Place[T, R]) -> None:
        with self._lock:
            here, self._line = self._line[: self._most], self._line[self._most :]
        items = [each.item for each in here]
        try:
            try:
                results = self._do(items)
            finally:
                self._hand_over()
            if self._then is not None:
                self._then(items, results)
            for each, result in zip(here, results, strict=True):
                each.result = result
        except BaseException as error:  # noqa: BLE001 -- raised in every thread of the round, this one too
            for each in here:
                each.error = error
        for each in here:
            each.over = True
            if each is not mine:
                each.turn.release()

    def _hand_over(self) -> None:
        """Let the first of those that wait lead the next round."""
        with self._lock:
            self._led = bool(self._line)
            following = self._line[0] if self._line else None
        if following is not None:
            following.turn.release()
