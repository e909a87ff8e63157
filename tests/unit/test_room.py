from __future__ import annotations

import pytest

from foreman.store.room import FRESH_MS, Room
from tests.stores import T0


class Queue:
    """A queue that knows how often it was counted."""

    def __init__(self, queued: int) -> None:
        self.queued = queued
        self.counts = 0

    def count(self) -> int:
        """How many jobs wait."""
        self.counts += 1
        return self.queued


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_a_small_queue_is_counted_for_each_submission(limit: int) -> None:
    """Its bound is exact."""
    room, queue = Room(limit), Queue(0)
    while room.take(queue.count, T0):
        queue.queued += 1
        assert queue.queued <= limit
    assert queue.queued == limit
    assert queue.counts == limit + 1


def test_twenty_processes_never_fill_more_than_there_is() -> None:
    """Each goes by a count of its own, and the worst is that all have just counted when all submit."""
    queue = Queue(0)
    rooms = [Room(1_000) for _ in range(20)]
    refused = 0
    while refused < len(rooms):
        refused = 0
        for room in rooms:
            taken = room.take(queue.count, T0)
            queue.queued += taken
            refused += not taken
    assert queue.queued == 1_000
    assert queue.counts < 800


def test_a_long_queue_is_not_counted_again_at_once() -> None:
    """Of 1,000 free places it lets fifty be filled by one count."""
    room, queue = Room(1_000), Queue(0)
    assert all(room.take(queue.count, T0) for _ in range(50))
    assert queue.counts == 1
    room.take(queue.count, T0)
    assert queue.counts == 2


@pytest.mark.parametrize("later", [T0 + FRESH_MS, T0 - 1])
def test_a_count_does_not_hold_for_long(later: int) -> None:
    """Others submit too, and a clock may be set back."""
    room, queue = Room(1_000), Queue(0)
    room.take(queue.count, T0)
    room.take(queue.count, later)
    assert queue.counts == 2
