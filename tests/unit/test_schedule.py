from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.job import Priority
from foreman.domain.schedule import Candidate, Policy, Server, choose, full_name, homes, preferred

#: A model's job may be passed over for 60 s, and 4 jobs in a row go to one model.
POLICY = Policy(max_wait_ms=60_000, max_streak=4)

NOW = 1_000_000


def job(name: str, model: str = "a", *, waited_ms: int = 0, priority: Priority = Priority.NORMAL) -> Candidate:
    """A ready job."""
    return Candidate(name, priority, model, NOW - waited_ms)


def server(name: str = "s", model: str | None = None, streak: int = 0, models: tuple[str, ...] = ()) -> Server:
    """An upstream with a free slot."""
    return Server(name, models, model, streak)


def chosen(servers: list[Server], jobs: list[Candidate]) -> tuple[str, str, bool] | None:
    """Which job goes where, and whether its model is in memory there."""
    choice = choose(servers, jobs, POLICY, NOW)
    return None if choice is None else (choice.job.job_id, choice.server.name, choice.warm)


def test_nothing_ready_or_nowhere_to_go_is_no_choice() -> None:
    """No job, no server, or no server that may be asked for the model."""
    assert chosen([server()], []) is None
    assert chosen([], [job("1")]) is None
    assert chosen([server(models=("b",))], [job("1", "a")]) is None


@pytest.mark.parametrize(
    ("model", "streak", "jobs", "expected"),
    [
        # Age, where no model is in memory; the lower id where ages are equal.
        (None, 0, [job("1", waited_ms=5), job("2", "b", waited_ms=9)], "2"),
        (None, 0, [job("2", "b"), job("1")], "1"),
        # Priority before everything, a model in memory and long waiting included.
        ("a", 1, [job("1", waited_ms=99_999), job("2", "b", priority=Priority.INTERACTIVE)], "2"),
        ("a", 1, [job("1", priority=Priority.BATCH), job("2", "b")], "2"),
        # The model in memory before an older job of another model …
        ("a", 1, [job("1", waited_ms=5), job("2", "b", waited_ms=59_999)], "1"),
        # … until that one has waited max_wait …
        ("a", 1, [job("1", waited_ms=5), job("2", "b", waited_ms=60_000)], "2"),
        # … or max_streak jobs of the one model have run in a row.
        ("a", 3, [job("1"), job("2", "b", waited_ms=5)], "1"),
        ("a", 4, [job("1"), job("2", "b", waited_ms=5)], "2"),
        # A streak ends only where another model waits.
        ("a", 400, [job("1")], "1"),
        # The oldest job may be of the model in memory.
        ("a", 4, [job("1", waited_ms=5), job("2", "b")], "1"),
        # Both are overdue: by turns of the streak.
        ("a", 3, [job("1", waited_ms=11), job("2", "b", waited_ms=12)], "1"),
        ("a", 4, [job("1", waited_ms=11), job("2", "b", waited_ms=12)], "2"),
        # The model in memory has no job: age.
        ("c", 1, [job("1", waited_ms=5), job("2", "b", waited_ms=9)], "2"),
    ],
)
def test_one_server_takes(model: str | None, streak: int, jobs: list[Candidate], expected: str) -> None:
    """Priority, then the model in memory within its bounds, then age; whatever order the jobs are offered in."""
    for offered in (jobs, jobs[::-1]):
        got = chosen([server(model=model, streak=streak)], offered)
        assert got is not None
        assert got[0] == expected


def test_a_job_goes_where_its_model_is_in_memory() -> None:
    """Of two servers that could run it."""
    servers = [server("1", model="b"), server("2", model="a")]
    assert chosen(servers, [job("1")]) == ("1", "2", True)


def test_a_server_without_a_model_takes_what_another_would_have_to_swap_for() -> None:
    """Two models, two servers: each goes on with its own."""
    servers = [server("1", model="a"), server("2", model="b")]
    jobs = [job("old", "c", waited_ms=50), job("a", "a"), job("b", "b", waited_ms=5)]
    assert chosen(servers, jobs) == ("b", "2", True)


def test_priority_holds_over_all_servers() -> None:
    """A cold start for an interactive job goes before a warm one for a batch."""
    servers = [server("1", model="a", models=("a",)), server("2", models=("b",))]
    jobs = [job("batch", "a", priority=Priority.BATCH), job("quick", "b", priority=Priority.INTERACTIVE)]
    assert chosen(servers, jobs) == ("quick", "2", False)


def test_an_empty_server_is_filled_before_a_model_is_pushed_out_of_another() -> None:
    """The model that stays in memory will be wanted again."""
    servers = [server("1", model="a"), server("2")]
    assert chosen(servers, [job("1", "b")]) == ("1", "2", False)


@pytest.mark.parametrize(
    ("models", "model", "able"),
    [
        ((), "anything", True),
        (("llama3",), "llama3", True),
        (("llama3",), "llama3:latest", True),
        (("llama3:latest",), "llama3", True),
        (("llama3",), "llama3:8b", False),
        (("llama3:8b",), "llama3", False),
        (("llama3*",), "llama3.2:1b", True),
        (("*",), "anything:x", True),
        (("hub.example:5000/llama3",), "hub.example:5000/llama3:latest", True),
        (("qwen", "llama*"), "llama3", True),
        (("qwen", "llama*"), "mistral", False),
        (("LLAMA3",), "llama3", False),
    ],
)
def test_a_server_runs_the_models_that_its_patterns_name(models: tuple[str, ...], model: str, able: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Names as Ollama reads them: no tag is ``:latest``; ``*`` stands for anything."""
    assert server(models=models).allows(model) is able


def listing(name: str, *available: str, **changes: Any) -> Server:
    """An upstream that says what it has."""
    return replace(server(name), available=frozenset(map(full_name, available)), **changes)


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        # Nobody says what it has: all of them, as long as the operator named no models.
        ([server("1"), server("2")], "12"),
        ([server("1"), server("2", models=("b",))], "1"),
        # Where the model is listed, and nowhere else.
        ([listing("1", "a"), listing("2", "b"), server("3")], "1"),
        ([listing("1", "a:latest"), listing("2", "A")], "12"),
        # To name a model is as good as to list it, unless the list says otherwise.
        ([server("1", models=("a",)), listing("2", "a"), server("3")], "12"),
        ([replace(listing("1", "b"), models=("a",)), listing("2", "a")], "2"),
        # Nobody lists it: somebody may have it all the same, or says that there is no such model.
        ([listing("1", "b"), server("2")], "2"),
        ([listing("1", "b"), listing("2", "c")], "12"),
        # Who is down is passed over if another has the model, and waited for if none has.
        ([listing("1", "a", down=True), listing("2", "a")], "2"),
        ([listing("1", "a", down=True), listing("2", "b")], "1"),
        ([replace(server("1"), down=True), replace(server("2"), down=True)], "12"),
        # Nobody may be asked for it.
        ([server("1", models=("b",)), server("2", models=("c*",))], ""),
    ],
)
def test_a_model_is_at_home_where_it_can_be_run(servers: list[Server], expected: str) -> None:
    """As far as upstreams and the operator tell, and whether or not a slot is free there."""
    assert "".join(each.name for each in homes(servers, "a")) == expected
    assert homes([replace(each, free=False) for each in servers], "a") == [
        replace(each, free=False) for each in homes(servers, "a")
    ]


def test_a_job_waits_for_the_upstream_that_has_its_model() -> None:
    """A free one without it would only fail the job."""
    busy = listing("1", "a", free=False)
    assert chosen([busy, listing("2", "b")], [job("1"), job("2", "b")]) == ("2", "2", False)
    assert chosen([busy, listing("2", "b")], [job("1")]) is None


def test_a_job_does_not_go_where_it_failed_if_it_can_go_elsewhere() -> None:
    """Not even back to its model; but rather there than nowhere."""
    failed = replace(job("1"), avoided="1")
    servers = [server("1", model="a"), server("2", model="b")]
    assert chosen(servers, [failed]) == ("1", "2", False)
    assert chosen(servers, [failed, job("2", "a")]) == ("2", "1", True)
    assert chosen([servers[0], replace(servers[1], free=False)], [failed]) == ("1", "1", True)


def test_of_two_with_the_model_in_memory_the_one_with_more_room_is_taken() -> None:
    """Two requests at once slow each other down."""
    servers = [replace(server("1", model="a"), load=0.5), replace(server("2", model="a"), load=0.25)]
    assert chosen(servers, [job("1")]) == ("1", "2", True)


def test_an_upstream_may_have_several_models_in_memory() -> None:
    """All of them go on within the bounds, the oldest job first."""
    several = replace(server("1", model="a"), loaded=frozenset({"b:latest"}))
    jobs = [job("1", waited_ms=1), job("2", "b", waited_ms=2), job("3", "c", waited_ms=9)]
    assert chosen([several], jobs) == ("2", "1", True)
    assert chosen([replace(several, streak=4)], jobs) == ("3", "1", False)


def test_a_request_without_a_slot_goes_where_its_model_is_in_memory_and_room_is() -> None:
    """The others follow, for the case that the first cannot be reached."""
    servers = [
        replace(server("1"), free=False),
        server("2"),
        replace(server("3", model="a"), load=0.5),
        server("4", model="a"),
        replace(server("5", model="a"), down=True),
        server("6", models=("b",)),
    ]
    assert [each.name for each in preferred(servers, "a")] == ["4", "3", "2", "1"]
    assert preferred([servers[5]], "a") == []


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.text("0123456789", min_size=1, max_size=3),
        st.sampled_from(Priority),
        st.sampled_from(["a", "b", "c"]),
        st.integers(NOW - 200_000, NOW),
    ),
    unique_by=(lambda each: each.job_id, lambda each: (each.priority, each.model)),
)


@given(CANDIDATES, st.sampled_from([None, "a", "b", "c"]), st.integers(0, 10))
def test_no_job_is_passed_over_by_a_lower_priority_nor_beyond_its_bound(
    jobs: list[Candidate], model: str | None, streak: int
) -> None:
    """Whoever goes first is of the best priority there is; only an overdue job goes before an older overdue one."""
    choice = choose([server(model=model, streak=streak)], jobs, POLICY, NOW)
    assert (choice is None) == (not jobs)
    if choice is not None:
        level = [each for each in jobs if each.priority == min(other.priority for other in jobs)]
        oldest = min(level, key=lambda each: (each.ready_at, each.job_id))
        assert choice.job in level
        assert choice.warm == (choice.job.model == model)
        if NOW - oldest.ready_at >= POLICY.max_wait_ms:
            turn = choice.warm and NOW - choice.job.ready_at >= POLICY.max_wait_ms and streak < POLICY.max_streak
            assert turn or choice.job == oldest
