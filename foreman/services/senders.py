"""Which origins the threads of this process send to, so that no receiver, and no crowd of them, holds all threads."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Self

from foreman.domain.sender_shares import Pace, Share, doubtful_senders

if TYPE_CHECKING:
    from types import TracebackType

#: Origins whose pace is remembered, and origins that are remembered as turned away, at most: some megabytes. One
#: that is forgotten is a stranger again, or waits for the sweep.
REMEMBERED = 10_000


class Senders:
    """``threads`` senders, a ``share`` of them (a fraction) for doubtful tries. Any number of threads may use it.

    A try is doubtful if it is a retry, or if the origin is not prompt as far as this process knows. So what fails and
    what is slow holds its share at most, and the rest is there for who answers.
    """

    def __init__(self, threads: int, share: float) -> None:
        self._threads = threads
        self._doubtful = doubtful_senders(threads, share)
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._held_doubtful: Counter[str] = Counter()
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self._turned_away: OrderedDict[str, Pace] = OrderedDict()

    def seat(self) -> Seat:
        """The calling thread's place, for one try."""
        return Seat(self)

    def learn(self, origin: str, pace: Pace) -> bool:
        """Remember the pace of ``origin``; returns whether it is a stranger no more."""
        with self._lock:
            before = self._paces.pop(origin, Pace.UNKNOWN)
            if pace is not Pace.UNKNOWN:
                _remember(self._paces, origin, pace)
            return before is Pace.UNKNOWN and pace is not Pace.UNKNOWN

    def turned_away(self) -> str | None:
        """The origin that has waited longest since it was refused a sender, and is no longer remembered from now on.

        Whoever ends a try asks, and sees to it that this origin is looked at again.
        """
        with self._lock:
            return self._turned_away.popitem(last=False)[0] if self._turned_away else None

    def others_wait(self, origin: str) -> bool:
        """Whether somebody else than ``origin`` was refused a sender and not looked at since."""
        with self._lock:
            return len(self._turned_away) > (origin in self._turned_away)

    def take(self, origin: str, *, retry: bool) -> bool | None:
        """Hold one more sender for ``origin``, and say whether as a doubtful one.

        None if there is no room for it: the origin is remembered as turned away.
        """
        with self._lock:
            pace = self._paces.get(origin, Pace.UNKNOWN)
            doubtful = retry or pace is not Pace.PROMPT
            everyone = Share(self._threads, self._held.total(), self._held[origin])
            doubted = Share(self._doubtful, self._held_doubtful.total(), self._held_doubtful[origin])
            if not everyone.has_room(pace) or (doubtful and not doubted.has_room(pace)):
                _remember(self._turned_away, origin, pace)
                return None
            self._held[origin] += 1
            if doubtful:
                self._held_doubtful[origin] += 1
            return doubtful

    def give_back(self, origin: str, *, doubtful: bool) -> None:
        """Hold one sender less."""
        with self._lock:
            _one_less(self._held, origin)
            if doubtful:
                _one_less(self._held_doubtful, origin)


class Seat:
    """One thread's sender, from ``take`` to the end of the ``with`` block or to the next ``take``."""

    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self._taken: tuple[str, bool] | None = None

    def take(self, origin: str, retry: bool) -> bool:  # noqa: FBT001  it is called by position, by the store
        """Whether the origin may hold one more sender, which it then does; what this seat held is given back first."""
        self._leave()
        doubtful = self._senders.take(origin, retry=retry)
        if doubtful is None:
            return False
        self._taken = (origin, doubtful)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._taken is not None:
            (origin, doubtful), self._taken = self._taken, None
            self._senders.give_back(origin, doubtful=doubtful)


def _one_less(held: Counter[str], origin: str) -> None:
    held[origin] -= 1
    if not held[origin]:
        del held[origin]


def _remember(origins: OrderedDict[str, Pace], origin: str, pace: Pace) -> None:
    origins.setdefault(origin, pace)
    if len(origins) > REMEMBERED:
        origins.popitem(last=False)
