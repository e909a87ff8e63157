"""Who goes before a job: what waits, counted by priority and model, in the order in which it will be claimed.

``schedule.py`` chooses job by job; this says what those choices will come to, without listing the jobs: priorities one
after the other; within one, model after model, each for ``max_streak`` jobs and then the others. First an overdue one
where none that is in memory is; then those in memory; then the others, by the age of their oldest jobs. Several
upstreams count as one with all their slots and all that they have in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from foreman.domain.job import Moment, Priority
from foreman.domain.schedule import Policy, Server, homes


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job that is asked about. ``ready_at`` is from when on it may be claimed: its age."""

    priority: Priority
    model: str
    ready_at: Moment


@dataclass(frozen=True, slots=True)
class Group:
    """The other jobs of one priority and model that wait: how many, and how many of them are ``older`` than ours."""

    priority: Priority
    model: str
    count: int
    older: int
    #: The ``ready_at`` of the oldest; our own job's where that is the oldest of its model.
    oldest: Moment


@dataclass(frozen=True, slots=True)
class Share:
    """So many ``jobs`` of one model, for which it is loaded ``loads`` times; a fraction is a likelihood."""

    model: str
    jobs: int
    loads: float


@dataclass(frozen=True, slots=True)
class Order:
    """What is claimed up to our job: ``others`` first, then ``own``, the jobs of its model, of which it is the last."""

    others: tuple[Share, ...]
    own: Share

    @property
    def position(self) -> int:
        """The place in line, from 1."""
        return sum(share.jobs for share in self.others) + self.own.jobs


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a job waits for: ``order``, or ``by_age`` once the oldest of its model is overdue, whichever is sooner."""

    order: Order
    by_age: Order
    overdue_in_ms: int


def prospect(
    own: Waiting, groups: Sequence[Group], servers: Sequence[Server], policy: Policy, now: Moment
) -> Prospect | None:
    """What ``own`` waits for among ``groups``, given all ``servers``; ``None`` when none may be asked for its model."""
    able = {server.name: server for server in homes(servers, own.model)}
    if not able:
        return None
    near = [group for group in groups if _meet(servers, able, group.model)]
    streaks = _streaks(able.values(), {own.model, *(group.model for group in near)}, policy.max_streak)
    level = _Level(own, [group for group in near if group.priority == own.priority], streaks, policy, now)
    higher = tuple(
        Share(group.model, group.count, float(group.model not in streaks))
        for group in near
        if group.priority < own.priority
    )
    swapped = any(share.loads for share in higher)
    by_age = level.by_age(higher, swapped=swapped)
    order = level.in_turns(higher, swapped=swapped) if policy.max_wait_ms else by_age
    return Prospect(order, by_age, max(0, level.front + policy.max_wait_ms - now))


def _meet(servers: Sequence[Server], able: Mapping[str, Server], model: str) -> bool:
    """Whether jobs for ``model`` may go where ours may."""
    return len(servers) == 1 or any(server.name in able for server in homes(servers, model))


def _streaks(servers: Collection[Server], models: Iterable[str], max_streak: int) -> dict[str, int]:
    """The models in memory, and the jobs in a row so far for which that was so."""
    holders = {model: [server.streak for server in servers if server.has_in_memory(model)] for model in models}
    return {model: min(max(streaks), max_streak) for model, streaks in holders.items() if streaks}


@dataclass(frozen=True, slots=True)
class _Level:
    """Our job and the others of its priority; ``streaks``: the models in memory, and their jobs in a row so far."""

    own: Waiting
    groups: Sequence[Group]
    streaks: Mapping[str, int]
    policy: Policy
    now: Moment

    @property
    def older(self) -> int:
        """How many jobs of our own model go first."""
        return sum(group.older for group in self.groups if group.model == self.own.model)

    @property
    def front(self) -> Moment:
        """The age of the oldest job of our model."""
        return self.fronts[self.own.model]

    @property
    def fronts(self) -> dict[str, Moment]:
        """The age of the oldest job of each model."""
        found = {group.model: group.oldest for group in self.groups}
        return found | {self.own.model: min(self.own.ready_at, found.get(self.own.model, self.own.ready_at))}

    @property
    def others(self) -> list[Group]:
        """The groups of other models."""
        return [group for group in self.groups if group.model != self.own.model]

    def in_turns(self, higher: tuple[Share, ...], *, swapped: bool) -> Order:
        """Model after model; ``swapped``: the jobs of ``higher`` priorities leave another one in memory."""
        others = self.others
        used = self.streaks.get(self.own.model, 0)
        rounds = (self.older + used) // self.policy.max_streak if others else 0
        loads = rounds + self._first_load(self.own.model, swapped=swapped)
        jobs = self.older + 1
        return Order((*higher, *self._turns_of(others, rounds, swapped)), Share(self.own.model, jobs, min(loads, jobs)))

    def _turns_of(self, others: Sequence[Group], rounds: int, swapped: bool) -> Iterator[Share]:  # noqa: FBT001  (in_turns says it)
        max_streak, before = self.policy.max_streak, self._models_first()
        for group in others:
            used = self.streaks.get(group.model, 0)
            first = group.model in before
            # No streak ends while nobody older waits: younger ones do not interrupt ours, nor do ours what is older.
            turns = first + (rounds if group.older else 0)
            jobs = min(group.count, max(turns * max_streak - used, group.older if first else 0))
            if jobs:
                again = -(-(jobs + used) // max_streak) - 1
                yield Share(group.model, jobs, min(again + self._first_load(group.model, swapped=swapped), jobs))

    def _models_first(self) -> set[str]:
        """The models whose turn comes before that of ours."""
        due = {model for model, front in self.fronts.items() if front <= self.now - self.policy.max_wait_ms}
        urgent = set() if due & self.streaks.keys() else due

        def rank(model: str) -> tuple[bool, bool, Moment]:
            return (model not in urgent, model not in self.streaks, self.fronts[model])

        return {model for model in self.fronts if rank(model) < rank(self.own.model)}

    def by_age(self, higher: tuple[Share, ...], *, swapped: bool) -> Order:
        """The older ones first, whatever their model. How often it changes is what a random mix would come to."""
        counts = {group.model: group.older for group in self.others if group.older}
        jobs = self.older + 1
        total = sum(counts.values()) + jobs
        shares = [
            Share(model, count, max(count * (1 - count / total), self._first_load(model, swapped=swapped)))
            for model, count in (*counts.items(), (self.own.model, jobs))
        ]
        return Order((*higher, *shares[:-1]), shares[-1])

    def _first_load(self, model: str, *, swapped: bool) -> float:
        return float(swapped or model not in self.streaks)
