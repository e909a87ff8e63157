"""How long until a job is done, from what runs took before; ``None`` where anything that it rests on is not known.

What is ahead of the job is spread over the slots one job after the other, each to the slot that is free first, as long
as jobs of its model took before. The arithmetic is exact; the times are means, so the result is one as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from foreman.domain.job import Moment
from foreman.domain.line import Order, Prospect, Share

#: A run that has taken this many times what is expected says nothing any more about when it ends: it may hang. Twice
#: the mean is more than runs of like jobs differ by, and early enough to take a wrong promise back.
OVERDUE = 2


@dataclass(frozen=True, slots=True)
class Times:
    """What one model takes, milliseconds; ``None``: never measured. ``load_ms`` is that of a load into memory."""

    load_ms: float | None
    run_ms: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """A job that is being run: since when, and whether its model may still have to be loaded."""

    since: Moment
    loads: bool


def mean(times: Sequence[Times]) -> Times:
    """The mean over upstreams, each as far as it was measured there."""
    return Times(_mean([each.load_ms for each in times]), _mean([each.run_ms for each in times]))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def left_ms(run: Run, times: Times, now: Moment) -> float | None:
    """How much longer a run takes, 0 or more; ``None`` when nobody knows, or it takes ``OVERDUE`` times too long."""
    expected = _cost(times, loads=float(run.loads))
    took = now - run.since
    if expected is None or took > OVERDUE * expected:
        return None
    return max(0.0, expected - took)


def until_done_ms(
    prospect: Prospect, free_in_ms: Sequence[float], times: Mapping[str, Times], *, ready_in_ms: int
) -> float | None:
    """How long until the job whose ``prospect`` this is will be done.

    ``free_in_ms`` is when each slot is free, for those of which it is known; ``times`` has a model's; the job may not
    be claimed for another ``ready_in_ms``. ``None`` when there is no such slot, or a needed time was never measured.
    """
    if not free_in_ms:
        return None
    done = _done_ms(prospect.order, free_in_ms, times, ready_in_ms)
    sooner = _done_ms(prospect.by_age, free_in_ms, times, ready_in_ms)
    last = _cost(times.get(prospect.order.own.model), loads=1.0)
    if done is None or sooner is None or last is None:
        return done
    return min(done, max(sooner, prospect.overdue_in_ms + last))


def shown_s(ms: float | None) -> float | None:
    """Milliseconds as seconds with two digits, and no more than one behind the point: what an estimate is good for."""
    if ms is None:
        return None
    seconds = ms / 1000
    return float(round(seconds, 2 - len(str(int(seconds)))))


def _done_ms(order: Order, free_in_ms: Sequence[float], times: Mapping[str, Times], ready_in_ms: int) -> float | None:
    slots: Sequence[float] = free_in_ms
    for share in order.others:
        pieces = _pieces(share, times.get(share.model))
        if pieces is None:
            return None
        slots = _after(slots, pieces)
    pieces = _pieces(order.own, times.get(order.own.model))
    if pieces is None:
        return None
    # Its own model's loads come last: on another slot it would wait for that of a job before it just as long.
    (jobs, cost), *before = pieces
    return max(min(_after(slots, [*reversed(before), (jobs - 1, cost)])), ready_in_ms) + cost


def _cost(times: Times | None, *, loads: float) -> float | None:
    """What a run takes that has so many loads before it."""
    if times is None or times.run_ms is None or (loads and times.load_ms is None):
        return None
    return times.run_ms + loads * (times.load_ms or 0.0)


def _pieces(share: Share, times: Times | None) -> list[tuple[int, float]] | None:
    """The jobs of a share as ``(jobs, cost of each)``: those with a load come first."""
    whole, part = int(share.loads), share.loads % 1
    counts = [(whole, 1.0), (1 if part else 0, part), (share.jobs - whole - (1 if part else 0), 0.0)]
    pieces = [(jobs, _cost(times, loads=loads)) for jobs, loads in counts if jobs > 0]
    known = [(jobs, cost) for jobs, cost in pieces if cost is not None]
    return known if len(known) == len(pieces) else None


def _after(slots: Sequence[float], pieces: Iterable[tuple[int, float]]) -> list[float]:
    """When each slot is free once all of ``pieces`` were given, job by job, to the slot that was free first."""
    heap = list(slots)
    heapify(heap)
    for jobs, cost in pieces:
        _give(heap, jobs, cost)
    return heap


def _give(heap: list[float], jobs: int, cost: float) -> None:
    latest = max(heap)
    while jobs:
        rounds = jobs // len(heap)
        if rounds and latest - heap[0] <= cost:
            # The slots are free within one job of each other, so each gets one in turn: nothing to look up job by job.
            heap[:] = [free + rounds * cost for free in heap]
            latest += rounds * cost
            jobs -= rounds * len(heap)
        else:
            latest = max(latest, heap[0] + cost)
            heapreplace(heap, heap[0] + cost)
            jobs -= 1
