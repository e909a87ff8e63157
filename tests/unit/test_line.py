from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.job import Priority
from foreman.domain.line import Group, Order, Prospect, Share, Waiting, prospect
from foreman.domain.schedule import Candidate, Policy, Server, choose

NOW = 1_000_000
INTERACTIVE, NORMAL, BATCH = Priority

#: Nobody is overdue, and a model goes on as long as there are jobs for it.
CALM = Policy(max_wait_ms=10**9, max_streak=10**6)
ONE = Server("one", (), "a", 0)


def ours(model: str = "a", priority: Priority = NORMAL, *, age_ms: int = 0) -> Waiting:
    """Our job."""
    return Waiting(priority, model, NOW - age_ms)


def group(model: str, count: int, *, older: int = 0, age_ms: int = 0, priority: Priority = NORMAL) -> Group:
    """``count`` jobs for ``model``, the oldest of ``age_ms``."""
    return Group(priority, model, count, older, NOW - age_ms)


def found(own: Waiting, *groups: Group, servers: tuple[Server, ...] = (ONE,), policy: Policy = CALM) -> Prospect:
    """What a job waits for."""
    answer = prospect(own, groups, servers, policy, NOW)
    assert answer is not None
    return answer


TURNS = {
    "alone": (ours(), [], (1, [], ("a", 1, 0))),
    "alone, and cold": (ours("b"), [], (1, [], ("b", 1, 1))),
    "behind its like": (ours(), [group("a", 5, older=3)], (4, [], ("a", 4, 0))),
    "behind a higher priority": (ours(), [group("a", 2, priority=INTERACTIVE)], (3, [("a", 2, 0)], ("a", 1, 0))),
    "before a lower one": (ours(), [group("a", 2, priority=BATCH)], (1, [], ("a", 1, 0))),
    "a higher one takes the model out of memory": (
        ours(),
        [group("b", 2, priority=INTERACTIVE)],
        (3, [("b", 2, 1)], ("a", 1, 1)),
    ),
    "behind the model in memory, its younger jobs too": (
        ours("b", age_ms=50),
        [group("a", 4, older=1, age_ms=60)],
        (5, [("a", 4, 0)], ("b", 1, 1)),
    ),
    "in memory, before an older one that is not": (
        ours(),
        [group("b", 4, older=4, age_ms=60)],
        (1, [], ("a", 1, 0)),
    ),
    "cold models by the age of their oldest": (
        ours("c", age_ms=50),
        [group("b", 4, older=1, age_ms=60), group("d", 7, older=0, age_ms=40)],
        (5, [("b", 4, 1)], ("c", 1, 1)),
    ),
}


@pytest.mark.parametrize(("own", "groups", "expected"), TURNS.values(), ids=TURNS)
def test_the_order_up_to_a_job(own: Waiting, groups: list[Group], expected: tuple[int, Any, Any]) -> None:
    """Each row: the place in line, what goes first with its loads, and the job's own model with its."""
    position, others, last = expected
    order = found(own, *groups).order
    assert order == Order(tuple(Share(*each) for each in others), Share(*last))
    assert order.position == position


def test_by_age_alone_only_what_is_older_goes_first() -> None:
    """With a bound of 0. The model changes as often as in a random mix: 3 · (1 - 3/6) and 2 · (1 - 2/6) times."""
    groups = [group("a", 9, older=3, age_ms=20), group("b", 4, older=2, age_ms=1000)]
    order = found(ours("c"), *groups, policy=Policy(max_wait_ms=0, max_streak=10**6)).order
    assert order.position == 6
    assert order.others == (Share("a", 3, 3 * (1 - 3 / 6)), Share("b", 2, 2 * (1 - 2 / 6)))
    assert order.own == Share("c", 1, 1.0)


@pytest.mark.parametrize(
    ("age_in_memory_ms", "first"),
    [(999, ["b", "a", "c", "d"]), (1000, ["a", "c", "b", "d"])],
    ids=["what is in memory is not", "what is in memory is as well"],
)
def test_an_overdue_model_goes_first_unless_what_is_in_memory_is_overdue(
    age_in_memory_ms: int, first: list[str]
) -> None:
    """After "b" come the models in memory and the others by age; otherwise the ones in memory go on."""
    server = Server("one", (), "a", 1, loaded=frozenset({"c:latest"}))
    policy = Policy(max_wait_ms=1000, max_streak=10**6)
    ages_ms = {"a": age_in_memory_ms, "b": 1200, "c": 20, "d": 10}
    places = {}
    for model, age_ms in ages_ms.items():
        others = [
            group(other, 1, older=int(age > age_ms), age_ms=age) for other, age in ages_ms.items() if other != model
        ]
        places[model] = found(ours(model, age_ms=age_ms), *others, servers=(server,), policy=policy).order.position
    assert sorted(places, key=places.__getitem__) == first
    assert sorted(places.values()) == [1, 2, 3, 4]


def test_our_own_job_becomes_overdue_with_the_oldest_of_its_model() -> None:
    """From then on age decides for it: the bound of an estimate behind a long queue for the model in memory."""
    policy = Policy(max_wait_ms=100, max_streak=10**6)
    answer = found(
        ours("b", age_ms=10), group("a", 50, older=5, age_ms=90), group("b", 1, older=1, age_ms=30), policy=policy
    )
    assert answer.overdue_in_ms == 70
    assert answer.order.position == 52
    assert answer.by_age.position == 7


def test_a_model_goes_on_for_a_streak_and_then_the_others_have_their_turns() -> None:
    """Streaks of ten, six of which are used: 4 a, 10 b, 10 a, 10 b, and then the a that is the 15th of its model."""
    server = Server("one", (), "a", 6)
    policy = Policy(max_wait_ms=10**9, max_streak=10)
    order = found(
        ours(),
        group("a", 30, older=14, age_ms=50),
        group("b", 50, older=20, age_ms=90),
        servers=(server,),
        policy=policy,
    ).order
    assert order == Order((Share("b", 20, 2.0),), Share("a", 15, 2.0))


def test_several_upstreams_count_as_one() -> None:
    """What any of those that may run the job has in memory needs no load; what none may run is not in the way."""
    servers = (Server("one", ("a", "b"), "a", 1), Server("two", ("b", "c"), "c", 1), Server("three", ("d",), "d", 1))
    groups = [group("a", 3, age_ms=5), group("c", 4, age_ms=5), group("d", 100, age_ms=5)]
    order = found(ours("b"), *groups, servers=servers).order
    assert order == Order((Share("a", 3, 0.0), Share("c", 4, 0.0)), Share("b", 1, 1.0))
    assert prospect(ours("e"), groups, servers, CALM, NOW) is None


# ------------------------------------------------------------------------------------- against the schedule itself


@dataclass(frozen=True)
class Job:
    """A job that waits."""

    number: int
    priority: Priority
    model: str

    @property
    def candidate(self) -> Candidate:
        """As the schedule sees it: the lower its number, the older it is."""
        return Candidate(f"{self.number:03}", self.priority, self.model, NOW - 1000 + self.number)


def played(jobs: list[Job], server: Server, policy: Policy) -> list[Job]:
    """The jobs in the order in which one slot claims them, at one moment, by ``choose``."""
    waiting, claimed = list(jobs), []
    while waiting:
        fronts = {(job.priority, job.model): job.candidate for job in reversed(waiting)}
        choice = choose([server], list(fronts.values()), policy, NOW)
        assert choice is not None
        job = next(job for job in waiting if job.candidate == choice.job)
        waiting.remove(job)
        claimed.append(job)
        server = replace(server, model=job.model, streak=server.streak + 1 if server.model == job.model else 1)
    return claimed


def told(job: Job, jobs: list[Job], server: Server, policy: Policy) -> Order:
    """What is told of a job among the others."""
    others = [each for each in jobs if each is not job]
    sizes = Counter((each.priority, each.model) for each in others)
    groups = [
        Group(
            priority,
            model,
            count,
            sum((each.priority, each.model) == (priority, model) and each.number < job.number for each in others),
            min(each.candidate.ready_at for each in jobs if (each.priority, each.model) == (priority, model)),
        )
        for (priority, model), count in sizes.items()
    ]
    answer = prospect(Waiting(job.priority, job.model, job.candidate.ready_at), groups, [server], policy, NOW)
    assert answer is not None
    return answer.order


LINES = st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from("abc")), min_size=1, max_size=30).map(
    lambda each: [Job(number, *job) for number, job in enumerate(each)]
)


@given(LINES, st.sampled_from([None, "a"]))
def test_without_a_bound_the_first_in_line_is_the_next_and_the_whole_is_a_line(
    jobs: list[Job], model: str | None
) -> None:
    """Every place is taken once, priorities do not mix, and whoever is told to be first is the one ``choose`` takes."""
    server = Server("one", (), model, 1 if model else 0)
    places = {told(job, jobs, server, CALM).position: job for job in jobs}
    assert sorted(places) == list(range(1, len(jobs) + 1))
    assert places[1] == played(jobs, server, CALM)[0]
    assert [job.priority for _, job in sorted(places.items())] == sorted(job.priority for job in jobs)


@given(LINES.map(lambda jobs: [replace(job, priority=NORMAL) for job in jobs]), st.sampled_from([None, "a"]))
def test_within_a_priority_the_line_is_the_order_in_which_jobs_are_claimed(jobs: list[Job], model: str | None) -> None:
    """Place by place, as ``choose`` would take them if nothing came in between; so are the loads."""
    server = Server("one", (), model, 1 if model else 0)
    order = played(jobs, server, CALM)
    assert [told(job, jobs, server, CALM).position for job in order] == list(range(1, len(order) + 1))
    swaps = sum(
        after.model != before for after, before in zip(order, [model, *(job.model for job in order)], strict=False)
    )
    last = told(order[-1], jobs, server, CALM)
    assert sum(share.loads for share in (*last.others, last.own)) == swaps


@given(LINES.map(lambda jobs: [replace(job, priority=NORMAL) for job in jobs]))
def test_once_a_job_is_overdue_the_line_is_that_of_age(jobs: list[Job]) -> None:
    """As ``choose`` takes them, again: with a bound of 0 everybody is."""
    policy = Policy(max_wait_ms=0, max_streak=10**6)
    order = played(jobs, ONE, policy)
    assert [told(job, jobs, ONE, policy).position for job in order] == list(range(1, len(order) + 1))


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 7), st.integers(1, 9))
def test_the_end_of_a_streak_is_that_of_the_schedule(younger: list[bool], max_streak: int, used: int) -> None:
    """The oldest job of the other model is told exactly when the one in memory will let go."""
    jobs = [Job(number, NORMAL, "b" if each else "a") for number, each in enumerate([*younger, True])]
    server = Server("one", (), "a", used)
    policy = Policy(max_wait_ms=10**9, max_streak=max_streak)
    order = played(jobs, server, policy)
    front = next(job for job in jobs if job.model == "b")
    assert told(front, jobs, server, policy).position == order.index(front) + 1
