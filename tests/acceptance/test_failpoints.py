"""A crash between any two steps from a transition to its recorded delivery, and bugs that the same eyes must see."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPException

import pytest

from tests.acceptance.stack import PATIENCE_S, Answer, eventually
from tests.chaos.failpoints import Failpoint, waves
from tests.chaos.fleet import Fleet
from tests.chaos.judge import Arrival, Verdict, judge
from tests.chaos.moods import good
from tests.postgres import PostgresServer

#: The waves that are tried on PostgreSQL too: its transactions are the same code, so these are a sample.
ON_POSTGRES = (1, 2)

#: One of each kind: whoever dies is missed.
PROCESSES = ("web", "jobs", "artifacts", "webhooks", "clock")

#: What a sender says that was too late to record what came of its try.
OUTLIVED = "delivery outlived its lease"

TABLE = [("sqlite", wave) for wave in waves()] + [("postgresql", waves()[number]) for number in ON_POSTGRES]


def name_of(value: object) -> str:
    """A wave as a test's name shows it."""
    return "+".join(point.name for point in value) if isinstance(value, tuple) else str(value)


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Fleet]]:
    """A running fleet on each database, started when it is first asked for; one serves all tests."""
    with ExitStack() as exits:
        running: dict[str, Fleet] = {}

        def fleet(database: str) -> Fleet:
            if database not in running:
                url = None
                if database == "postgresql":
                    url = exits.enter_context(PostgresServer()).create("failpoints")
                settings = {"FOREMAN_ARTIFACTS_INLINE_LIMIT_B": "50"}  # every completion is put into the store
                directory = tmp_path_factory.mktemp(database) / "fleet"
                made = Fleet(directory, database_url=url, processes=PROCESSES, settings=settings)
                running[database] = exits.enter_context(made)
            return running[database]

        yield fleet


def submitted(fleet: Fleet, key: str) -> str:
    """The id of a job that was submitted again and again until there was an answer."""
    body = {"model": "m", "messages": [{"role": "user", "content": key}], "state_webhook_url": fleet.receiver.url}

    def attempt() -> Answer | None:
        try:
            return fleet.ask("POST", "/jobs", body, {"Idempotency-Key": key})
        except (OSError, HTTPException):
            return None

    answer = eventually(attempt, "an answer to the submission")
    assert answer is not None
    assert answer.status == 202, answer
    return str(answer.json["job_id"])


def at_rest(fleet: Fleet) -> None:
    """Wait until every job has ended and no event is pending."""
    eventually(lambda: fleet.ledger.open() == (0, 0), "every job ended, every event delivered", 60)


def refuse_once(arrival: Arrival) -> tuple[int, float]:
    """Refuses the first try of the second event, so that there is a retry to crash at."""
    return (500, 0.0) if (arrival.sequence, arrival.attempt) == (2, 1) else (200, 0.0)


@pytest.mark.parametrize(("database", "wave"), TABLE, ids=name_of)
def test_a_crash_between_two_steps_loses_nothing(
    fleets: Callable[[str], Fleet], database: str, wave: tuple[Failpoint, ...]
) -> None:
    """Each process on a job's way dies at one point: all events arrive, in order, with at most one extra send."""
    fleet = fleets(database)
    fleet.witness.mood = refuse_once
    for point in wave:
        fleet.control.arm(point.name)
    job_id = submitted(fleet, name_of(wave))
    for point in wave:
        eventually(lambda point=point: fleet.control.fired(point.name), f"a crash at {point.name}")  # type: ignore[misc]
    at_rest(fleet)
    verdict = judge(fleet.evidence([job_id]))
    assert verdict.kept, verdict
    assert (verdict.jobs, verdict.events) == (1, 4)
    assert verdict.duplicates <= 1, verdict


def judged(fleet: Fleet, name: str) -> Verdict:
    """What became of one more job, once everything is at rest."""
    job_id = submitted(fleet, f"{name} {len(fleet.witness.arrivals)}")
    at_rest(fleet)
    return judge(fleet.evidence([job_id]))


def refused_for_long(fleet: Fleet) -> Verdict:
    """The receiver refuses a job's first event while the others come into being."""
    fleet.witness.mood = lambda arrival: (500, 0.0) if arrival.sequence == 1 and arrival.attempt < 15 else (200, 0.0)
    return judged(fleet, "refused")


def frozen_past_its_lease(fleet: Fleet) -> Verdict:
    """A sender stands still in the middle of a try, another one delivers, and the first wakes up to a refusal."""
    arrived, go_on = threading.Event(), threading.Event()

    def mood(arrival: Arrival) -> tuple[int, float]:
        if (arrival.sequence, arrival.attempt) != (1, 1):
            return 200, 0.0
        arrived.set()
        go_on.wait(PATIENCE_S)
        return 500, 0.0

    fleet.witness.mood = mood
    said = fleet.log("webhooks").count(OUTLIVED)
    job_id = submitted(fleet, f"frozen {len(fleet.witness.arrivals)}")
    assert arrived.wait(PATIENCE_S)
    fleet.strike("webhooks", signal.SIGSTOP)
    fleet.add("webhooks-2")
    at_rest(fleet)
    fleet.strike("webhooks", signal.SIGCONT)
    go_on.set()

    def over() -> bool:
        """It was told that it is too late; or it was not, and the event was sent once more."""
        tries = [each for each in fleet.ledger.tries() if (each.job_id, each.sequence) == (job_id, 1)]
        return fleet.log("webhooks").count(OUTLIVED) > said or len(tries) > 2

    eventually(over, "the first one's outcome")
    fleet.remove("webhooks-2")
    return judge(fleet.evidence([job_id]))


def crashed_before_announcing(fleet: Fleet) -> Verdict:
    """The process that makes a job done dies as it is about to write the event."""
    fleet.witness.mood = good
    fleet.control.arm("done-not-announced")
    verdict = judged(fleet, "crashed")
    assert fleet.control.fired("done-not-announced")
    return verdict


def sent_elsewhere(fleet: Fleet) -> Verdict:
    """The receiver answers each first try with a redirect."""
    fleet.witness.headers = {"Location": "/elsewhere"}
    fleet.witness.mood = lambda arrival: (307, 0.0) if arrival.path == "/hook" and arrival.attempt == 1 else (200, 0.0)
    return judged(fleet, "elsewhere")


@pytest.mark.parametrize(
    ("mutant", "scenario", "kind"),
    [
        ("head-of-line-off", refused_for_long, "reordered"),
        ("fencing-off", frozen_past_its_lease, "repeated"),
        ("commit-then-insert", crashed_before_announcing, "lost"),
        ("redirects-on", sent_elsewhere, "strayed"),
    ],
)
def test_a_known_bug_is_found(
    fleets: Callable[[str], Fleet], mutant: str, scenario: Callable[[Fleet], Verdict], kind: str
) -> None:
    """The same scenario breaks no promise without the bug and the one expected with it."""
    fleet = fleets("sqlite")
    verdict = scenario(fleet)
    assert verdict.kept, verdict
    fleet.control.infect(mutant)
    try:
        verdict = scenario(fleet)
    finally:
        fleet.control.cure(mutant)
    assert verdict.broken(kind), verdict
