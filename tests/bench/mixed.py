"""What the choice of the next job is worth where models must be swapped: by age, by model alone, and as foreman does.

Three models share one slot, a load costs twenty runs, and jobs arrive at nine tenths of what the slot could do without
any load. Time is counted, not spent: the same jobs arrive at the same moments for every policy, and what is asked is
``domain/schedule.py`` itself. Times are in runs.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from foreman.domain.job import Moment, Priority
from foreman.domain.schedule import Candidate, Policy, Server, choose

#: Milliseconds of a run and of a load.
RUN_MS, LOAD_MS = 1_000, 20_000
#: Jobs per run, and how often each model is asked for.
RATE = 0.9
MODELS = {"large": 8, "medium": 1, "small": 1}
#: ``schedule.max_wait_s`` in runs, and ``schedule.max_streak``: a bound that leaves room for loads, as any must.
BOUND, STREAK = 500, 500

#: A job: when it came, and for which model.
Arrival = tuple[Moment, str]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of all jobs under one policy; ``makespan`` and ``longest_wait`` in runs."""

    loads: int
    makespan: float
    longest_wait: float


POLICIES = {
    "by age alone": Policy(0, 1),
    "by model, no bound": Policy(10**15, 10**9),
    "foreman": Policy(BOUND * RUN_MS, STREAK),
}


def arrivals(jobs: int, seed: int = 3) -> list[Arrival]:
    """So many jobs, at random moments; the same for the same ``seed``."""
    dice, at = random.Random(seed), 0.0
    found = []
    for _ in range(jobs):
        at += dice.expovariate(RATE / RUN_MS)
        found.append((round(at), dice.choices(list(MODELS), list(MODELS.values()))[0]))
    return found


def best(jobs: Sequence[Arrival]) -> float:
    """The least makespan there can be, in runs: each model loaded once, and the last job run after it came."""
    return max(len(jobs) + len(MODELS) * LOAD_MS / RUN_MS, jobs[-1][0] / RUN_MS + 1)


def tally(jobs: Sequence[Arrival], policy: Policy) -> Tally:
    """Run all jobs on one slot."""
    slot = _Slot(policy)
    coming = deque(enumerate(jobs))
    while coming or slot.waiting():
        if not slot.waiting():
            slot.now = max(slot.now, coming[0][1][0])
        while coming and coming[0][1][0] <= slot.now:
            number, (at, model) = coming.popleft()
            slot.queues.setdefault(model, deque()).append((at, f"{number:08}"))
        slot.run_one()
    return Tally(slot.loads, slot.now / RUN_MS, slot.longest_wait_ms / RUN_MS)


class _Slot:
    def __init__(self, policy: Policy) -> None:
        self.now: Moment = 0
        self.queues: dict[str, deque[tuple[Moment, str]]] = {}
        self.loads = 0
        self.longest_wait_ms = 0
        self._policy = policy
        self._model: str | None = None
        self._streak = 0

    def waiting(self) -> bool:
        return any(self.queues.values())

    def run_one(self) -> None:
        fronts = [
            Candidate(queue[0][1], Priority.NORMAL, model, queue[0][0]) for model, queue in self.queues.items() if queue
        ]
        choice = choose([Server("one", (), self._model, self._streak)], fronts, self._policy, self.now)
        assert choice is not None, "a job waited, and none was chosen"
        model = choice.job.model
        came, _ = self.queues[model].popleft()
        self.longest_wait_ms = max(self.longest_wait_ms, self.now - came)
        if model != self._model:
            self.loads, self._streak = self.loads + 1, 0
            self.now += LOAD_MS
        self._model, self._streak = model, self._streak + 1
        self.now += RUN_MS
