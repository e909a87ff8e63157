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
from tests.databases import ENGINES, POSTGRESQL, SESSION
from tests.postgres import PostgresServer
from tests.upstream import reply
from tests.upstream_faults import held

#: The waves that are tried on the other database too: the code is the same, so this is a sample, one crash in each
#: process.
ON_BOTH = (2,)

#: A completion that stays in its row, and one that is put into the store.
SHORT, LONG = reply("Hi"), reply("Hi" * 500)

#: One of each kind: whoever dies is missed.
PROCESSES = ("web", "jobs", "artifacts", "webhooks", "clock")

#: The processes that hold leases, and what each says that is too late to record what came of its work.
FROZEN = {"webhooks": "delivery outlived its lease", "jobs": "the claim is somebody else's"}

TABLE = [
    (database, wave)
    for database in ENGINES
    for number, wave in enumerate(waves())
    if database == SESSION.engine or number in ON_BOTH
]


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
                if database == POSTGRESQL:
                    url = exits.enter_context(PostgresServer()).create("failpoints")
                directory = tmp_path_factory.mktemp(database) / "fleet"
                made = Fleet(directory, database_url=url, processes=PROCESSES)
                running[database] = exits.enter_context(made)
            return running[database]

        yield fleet


def submitted(fleet: Fleet, key: str) -> str:
    """The id of a job that was submitted again and again until there was an answer.

    Its model is its own: one that is in memory already has no step of its own for ``loading``.
    """
    body = {"model": key, "messages": [{"role": "user", "content": key}], "state_webhook_url": fleet.receiver.url}

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
    fleet.upstream.default = SHORT if any(point.short for point in wave) else LONG
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


def frozen_past_their_leases(fleet: Fleet) -> Verdict:
    """A sender and a runner stand still in the middle of their work, others do it, and the first wake up."""
    arrived, go_on = threading.Event(), threading.Event()

    def mood(arrival: Arrival) -> tuple[int, float]:
        if (arrival.sequence, arrival.attempt) != (1, 1):
            return 200, 0.0
        arrived.set()
        go_on.wait(PATIENCE_S)
        return 500, 0.0

    fleet.witness.mood = mood
    fleet.upstream.next(held(go_on, reply("too late" * 200)))
    said, chats = told(fleet), len(fleet.upstream.chats)
    job_id = submitted(fleet, f"frozen {len(fleet.witness.arrivals)}")
    eventually(lambda: arrived.is_set() and len(fleet.upstream.chats) > chats, "both are at work")
    fleet.until(job_id, "working")
    for name in FROZEN:
        fleet.freeze(name)
        fleet.add(f"{name}-2")
    at_rest(fleet)
    for name in FROZEN:
        fleet.strike(name, signal.SIGCONT)
    go_on.set()

    def over() -> bool:
        """Both were told that they are too late; or were not, and sent once more, and took the completion away."""
        [job] = (each for each in fleet.ledger.jobs() if each.job_id == job_id)
        tries = [each for each in fleet.ledger.tries() if (each.job_id, each.sequence) == (job_id, 1)]
        heard = [after > before for before, after in zip(said, told(fleet), strict=True)]
        return all((heard[0] or len(tries) > 2, heard[1] or not job.stored))

    eventually(over, "what the first ones come to")
    for name in FROZEN:
        fleet.remove(f"{name}-2")
    return judge(fleet.evidence([job_id]))


def told(fleet: Fleet) -> list[int]:
    """How often each of those that are frozen has found itself too late."""
    return [fleet.log(name).count(words) for name, words in FROZEN.items()]


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
    ("mutant", "scenario", "kinds"),
    [
        ("head-of-line-off", refused_for_long, "reordered"),
        ("fencing-off", frozen_past_their_leases, "repeated lost"),
        ("commit-then-insert", crashed_before_announcing, "lost"),
        ("redirects-on", sent_elsewhere, "strayed"),
    ],
)
def test_a_known_bug_is_found(
    fleets: Callable[[str], Fleet], mutant: str, scenario: Callable[[Fleet], Verdict], kinds: str
) -> None:
    """The same scenario breaks no promise without the bug and the one expected with it."""
    fleet = fleets(SESSION.engine)
    fleet.upstream.default = LONG
    verdict = scenario(fleet)
    assert verdict.kept, verdict
    fleet.control.infect(mutant)
    try:
        verdict = scenario(fleet)
    finally:
        fleet.control.cure(mutant)
    assert all(verdict.broken(kind) for kind in kinds.split()), verdict
