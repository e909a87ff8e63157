"""What somebody who watches a job sees of its live stream: entries, a place to go on from, and the end."""

from __future__ import annotations

import queue
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from foreman.queue.live import Kind

#: Entries that wait for a follower at most: ten seconds of text. One with more is no longer read for until it has
#: caught up with half of them, so it costs no memory; the stream in Redis keeps the rest, ``MAX_ENTRIES`` of them.
_ROOM = 500

#: Three numbers of at most 19 digits: the parts of an id are 64 bits in Redis, which refuses more.
_ID = re.compile(r"(\d{1,19})-(\d{1,19})-(\d{1,19})", re.ASCII)


class Place(NamedTuple):
    """Just behind an entry of a stream: its id there (``ms``, ``seq``) and its number. They sort by age."""

    ms: int = 0
    seq: int = 0
    number: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """The place that an entry's ``id`` names. ``None``, and what is not an id, name the beginning."""
        match = _ID.fullmatch(text or "")
        return cls(*map(int, match.groups())) if match else cls()

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}-{self.number}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a follower gets: ``data`` is a JSON object on one line, see ``live.py``; ``id`` is for ``follow(after=…)``.

    The ``id`` of a gap is that of the entry before it.
    """

    id: str
    type: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has ended: its terminal state was the entry before this, and there will be no other."""


Page: TypeAlias = Sequence[Entry | Ended]


class Follower:
    """One reader of one job; ``next`` is for one thread at a time. Close it, or use it with ``with``."""

    def __init__(
        self, job_id: str, place: Place, *, leave: Callable[[Follower], None], wake: Callable[[], None]
    ) -> None:
        self._leave = leave
        self._wake = wake
        self.job_id = job_id
        #: Where its next page begins; belongs to the hub, as does ``resting``.
        self.place = place
        self.resting = False
        self._pages: queue.SimpleQueue[Page] = queue.SimpleQueue()
        self._page: deque[Entry | Ended] = deque()
        # Each is counted by one thread only: no lock.
        self._given = self._taken = 0

    def next(self, timeout_s: float) -> Entry | Ended | None:
        """The next entry; ``None`` if there was none for ``timeout_s`` seconds (0: look, do not wait).

        ``None`` says nothing about the job. It may be Redis that is away, or the stream that is over and expired: look
        into the database.
        """
        if not self._page and not self._turn(timeout_s):
            return None
        # The end stays, for those who ask again.
        return self._page[0] if isinstance(self._page[0], Ended) else self._page.popleft()

    def close(self) -> None:
        """Follow no more."""
        self._leave(self)

    def offer(self, page: Page) -> bool:
        """The hub has read ``page``; ``False``: there is no room for it, and it must be read again."""
        if self._waiting() + len(page) > _ROOM:
            return False
        self._given += len(page)
        self._pages.put(page)
        return True

    def ready(self) -> bool:
        """Whether a resting follower has caught up enough to be read for again."""
        return self._waiting() <= _ROOM // 2

    def _waiting(self) -> int:
        return self._given - self._taken

    def _turn(self, timeout_s: float) -> bool:
        try:
            page = self._pages.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._page.extend(page)
        self._taken += len(page)
        if self.resting and self.ready():
            self._wake()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
