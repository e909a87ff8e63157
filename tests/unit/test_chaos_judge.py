"""The crash suite's judge: it must see each kind of broken promise, and none where all were kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.failpoints import POINTS
from tests.chaos.injection import find
from tests.chaos.judge import Arrival, EventEnd, Evidence, JobEnd, Try, judge
from tests.chaos.mutants import MUTANTS, Mutant

STATES = ("queued", "loading", "working", "done")


def arrival(sequence: int, at_s: float, *, attempt: int = 1, status: int | None = 200, path: str = "/hook") -> Arrival:
    """An event of job ``J`` that came at ``at_s`` and was answered a tenth of a second later."""
    state = STATES[sequence - 1]
    answered_at_s = None if status is None else at_s + 0.1
    return Arrival(path, f"J-{state}", "J", sequence, state, attempt, f"body {sequence}", at_s, status, answered_at_s)


def row(sequence: int, attempt: int = 1, status: int | None = 200) -> Try:
    """A recorded try."""
    return Try("J", sequence, attempt, status)


ARRIVALS = tuple(arrival(number, number) for number in (1, 2, 3, 4))
TRIES = tuple(row(number) for number in (1, 2, 3, 4))
EVENTS = tuple(EventEnd("J", number, STATES[number - 1], "delivered") for number in (1, 2, 3, 4))
JOB = JobEnd("J", "done", None, STATES, stored=True)
GOOD = Evidence(["J"], [JOB], EVENTS, TRIES, ARRIVALS, [("J", STATES)])


def test_a_run_that_kept_every_promise_is_cleared() -> None:
    """One job, four events, each once."""
    verdict = judge(GOOD)
    assert verdict.kept
    assert (verdict.jobs, verdict.events, verdict.arrivals, verdict.duplicates, verdict.unknown) == (1, 4, 4, 0, 0)
    assert "0 lost" in str(verdict)


def test_a_refused_try_is_no_duplicate() -> None:
    """The receiver asked for it to come again."""
    evidence = replace(
        GOOD, arrivals=[arrival(1, 0.5, status=500), *ARRIVALS[1:], arrival(1, 1, attempt=2)], tries=TRIES
    )
    assert judge(evidence).duplicates == 0
    assert judge(evidence).kept


def test_a_duplicate_is_excused_by_a_try_of_unknown_outcome() -> None:
    """The sender died before it could know, or the receiver hung up: it had to send again."""
    twice = [*ARRIVALS, arrival(4, 5, attempt=2)]
    excused = judge(replace(GOOD, arrivals=twice, tries=[*TRIES[:3], row(4, 1, None), row(4, 2)]))
    assert excused.kept
    assert (excused.duplicates, excused.unknown) == (1, 1)


#: What is broken, and evidence of it.
BROKEN = [
    ("lost", replace(GOOD, jobs=[])),
    ("lost", replace(GOOD, jobs=[replace(JOB, stored=False)])),
    ("lost", replace(GOOD, events=EVENTS[:3])),
    ("lost", replace(GOOD, events=[*EVENTS[:3], replace(EVENTS[3], status="dead")])),
    ("lost", replace(GOOD, arrivals=ARRIVALS[:3])),
    ("lost", replace(GOOD, arrivals=[*ARRIVALS[:3], arrival(4, 4, status=None)])),
    ("doubled", replace(GOOD, acknowledged=[])),
    ("unended", replace(GOOD, jobs=[replace(JOB, state="working", reached=STATES[:3])])),
    ("failed", replace(GOOD, jobs=[replace(JOB, state="failed", error_code="internal")])),
    ("reordered", replace(GOOD, arrivals=[arrival(2, 0.5), *ARRIVALS])),
    ("reordered", replace(GOOD, arrivals=[arrival(1, 1, status=500), arrival(2, 2), arrival(1, 3, attempt=2)])),
    ("reordered", replace(GOOD, arrivals=[ARRIVALS[0], arrival(2, 1.05), *ARRIVALS[2:]])),
    ("duplicated", replace(GOOD, arrivals=[*ARRIVALS, arrival(4, 5, attempt=2)])),
    ("repeated", replace(GOOD, arrivals=[*ARRIVALS, arrival(4, 5)])),
    ("repeated", replace(GOOD, tries=[*TRIES, row(4, 2, None)])),
    ("altered", replace(GOOD, arrivals=[*ARRIVALS, replace(arrival(4, 5, attempt=2), digest="other")])),
    ("backward", replace(GOOD, seen=[("J", ("queued", "working", "loading"))])),
    ("backward", replace(GOOD, arrivals=[*ARRIVALS[:3], replace(ARRIVALS[3], state="working")])),
    ("strayed", replace(GOOD, arrivals=[*ARRIVALS[:3], arrival(4, 4, path="/elsewhere")])),
    ("crowded", replace(GOOD, slots=2, most_at_once=3)),
]


@pytest.mark.parametrize(("kind", "evidence"), BROKEN)
def test_a_broken_promise_is_seen(kind: str, evidence: Evidence) -> None:
    """Whatever else it is taken for, it is reported as what it is."""
    verdict = judge(evidence)
    assert not verdict.kept
    assert verdict.broken(kind), verdict


@pytest.mark.parametrize("function", sorted({point.function for point in POINTS}))
def test_a_failpoint_is_a_function_that_there_is(function: str) -> None:
    """A renamed function must not turn a crash into none."""
    owner, name = find(function)
    assert callable(getattr(owner, name))


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_mutant_changes_functions_that_there_are(mutant: Mutant) -> None:
    """A renamed function must not cure a mutant."""
    for function in mutant.changes:
        owner, name = find(function)
        assert callable(getattr(owner, name))
