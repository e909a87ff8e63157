"""A whole run: clients that insist, a receiver with moods, kills and disasters, then calm, and the verdict."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.chaos.disk import Disk
from tests.chaos.faults import BURST, DISASTERS, RESTART, Scene, disasters, kills
from tests.chaos.fleet import SLOTS, Fleet
from tests.chaos.judge import Verdict, judge
from tests.chaos.moods import moody
from tests.postgres import PostgresServer
from tests.upstream import Exchange, reply

#: Clients that submit at once, and clients that look.
SUBMITTERS, WATCHERS = 4, 2

#: Events of a job that does not fail.
EVENTS_PER_JOB = 4

#: Seconds a client waits for an answer, and before it asks again.
ANSWER_S, AGAIN_S = 5.0, 0.05

#: Seconds between two looks at how far it has come, and between two lines that say so.
LOOK_S, TELL_S = 0.1, 5.0

#: Seconds in which something must move once all is calm: the longest lease is of six, and circuits open for longer.
STANDSTILL_S = 90.0

#: Words in the completions: some are kept in their row, some are put into the store.
SHORT, LONG = 4, 80


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is: the same seed gives the same faults and moods, though not the same interleaving."""

    events: int
    kills: int
    seed: int
    #: ``sqlite`` or ``postgresql``.
    database: str
    #: Seconds after which the faults end, however much is left to be done.
    storm_s: float
    disasters: Sequence[str]

    @property
    def events_per_burst(self) -> int:
        """Events to be accepted after each burst of kills, so that all kills come while there is work."""
        return max(1, self.events * 3 // 4 * BURST // max(1, self.kills))

    @property
    def jobs(self) -> int:
        """Jobs to submit."""
        return -(-self.events // EVENTS_PER_JOB)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; ``counts`` is how often each fault struck."""

    verdict: Verdict
    counts: dict[str, int]
    storm_s: float
    calm_s: float

    def __str__(self) -> str:
        struck = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{self.verdict}\n{struck}; {self.storm_s:.0f} s of storm, at rest {self.calm_s:.0f} s later"


@dataclass
class Clients:
    """Those who submit until they are answered, and those who look at what they were told of."""

    fleet: Fleet
    jobs: int
    dice: random.Random
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        #: Of each watcher: job → the states in which it was seen.
        self.seen: list[dict[str, list[str]]] = []
        self._left = iter(range(self.jobs))
        self._lock = threading.Lock()
        #: The first thing that a client must never see, if one did.
        self.wrong: AssertionError | None = None

    def submit(self) -> None:
        """Submit one job after the other, each until it is acknowledged, until none is left."""
        while (number := self._next()) is not None and not self.over.is_set():
            key = f"job {number}"
            body = {
                "model": f"m{number % 2}",
                "messages": [{"role": "user", "content": str(LONG if number % 3 == 0 else SHORT)}],
                "state_webhook_url": self.fleet.receiver.url,
                "priority": ("interactive", "normal", "batch")[number % 3],
            }
            while (came := self._ask("POST", "/jobs", body, {"Idempotency-Key": key})) is None:
                if self.over.wait(AGAIN_S):
                    return
            self.acknowledged[key] = came["job_id"]

    def watch(self) -> None:
        """Look at some job that was acknowledged, again and again."""
        dice = random.Random(self.dice.random())
        seen: dict[str, list[str]] = {}
        self.seen.append(seen)
        while not self.over.wait(AGAIN_S):
            known = list(self.acknowledged.values())
            if known and (came := self._ask("GET", f"/jobs/{(job_id := dice.choice(known))}")) is not None:
                seen.setdefault(job_id, []).append(came["state"])

    def check(self) -> None:
        """Raises: AssertionError, if a client got an answer that it must never get."""
        if self.wrong is not None:
            raise self.wrong

    def _next(self) -> int | None:
        with self._lock:
            return next(self._left, None)

    def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The answer's body, or None if there is none yet: nobody listens, or the database is away."""
        try:
            answer = self.fleet.ask(method, path, body, headers, timeout_s=ANSWER_S)
        except (OSError, HTTPException):
            return None
        if answer.status == 503:
            return None
        if answer.status not in {200, 202}:
            self.wrong = self.wrong or AssertionError(f"{method} {path} was answered {answer.status}: {answer.raw!r}")
            return None
        return answer.json


def answer(exchange: Exchange) -> None:
    """The upstream's: as many words as the prompt asks for, a moment before each line."""
    words = int(exchange.received.body["messages"][0]["content"])
    reply(*("word " * (words // 4) for _ in range(4)), delay_s=0.005)(exchange)


def run(plan: Plan, directory: Path, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Do it; progress goes to ``say``.

    Raises:
        AssertionError: a client got an answer that it must never get, or all stood still with work left.
    """
    with ExitStack() as exits:
        disk = exits.enter_context(Disk(directory))
        postgres = exits.enter_context(PostgresServer()) if plan.database == "postgresql" else None
        url = None if postgres is None else postgres.create("chaos")
        # On the disk that is filled, wherever other tests keep theirs.
        on_disk = {"FOREMAN_ARTIFACTS_URL": (directory / "data" / "artifacts").as_uri()}
        fleet = Fleet(directory, database_url=url, settings=on_disk)
        fleet.upstream.default = answer
        fleet.witness.mood = moody(plan.seed)
        exits.enter_context(fleet)
        scene = Scene(fleet, postgres, disk, random.Random(plan.seed))
        clients = Clients(fleet, plan.jobs, random.Random(plan.seed))
        began = time.monotonic()
        pool = exits.enter_context(ThreadPoolExecutor(SUBMITTERS + WATCHERS + 2))
        try:
            for each in [clients.submit] * SUBMITTERS + [clients.watch] * WATCHERS:
                pool.submit(each)
            _storm(plan, scene, clients, pool, say)
            calm = time.monotonic()
            _calm(plan, scene, clients, say)
        finally:
            clients.over.set()
            scene.over.set()
        return Outcome(_verdict(plan, scene, clients), scene.counts, calm - began, time.monotonic() - calm)


def _storm(plan: Plan, scene: Scene, clients: Clients, pool: Executor, say: Callable[[str], None]) -> None:
    """Faults, until there were enough of them and most of the work is done, or the time is up."""
    names = [each for each in plan.disasters if scene.postgres is not None or each != RESTART]
    harm = [pool.submit(kills, scene, plan.events_per_burst, plan.events), pool.submit(disasters, scene, names)]
    began = told = time.monotonic()
    while time.monotonic() - began < plan.storm_s and not _enough(plan, scene, names):
        wait(harm, LOOK_S, FIRST_EXCEPTION)
        clients.check()
        if any(each.done() for each in harm):
            break
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            say(f"{told - began:4.0f} s: {_progress(scene, clients)}")
    scene.over.set()
    for each in harm:
        each.result()


def _enough(plan: Plan, scene: Scene, names: Sequence[str]) -> bool:
    struck = scene.counts.get("killed", 0) >= plan.kills and all(scene.counts.get(name, 0) for name in names)
    return struck and scene.fleet.witness.accepted > plan.events * 3 // 4


def _calm(plan: Plan, scene: Scene, clients: Clients, say: Callable[[str], None]) -> None:
    """Wait until every job is acknowledged and ended and every event delivered, as long as something moves."""
    moved = told = time.monotonic()
    last: object = None
    while True:
        clients.check()
        here = (len(clients.acknowledged), scene.fleet.ledger.open(), len(scene.fleet.witness.arrivals))
        if here[0] == plan.jobs and here[1] == (0, 0):
            return
        now = time.monotonic()
        if here != last:
            last, moved = here, now
        assert now - moved < STANDSTILL_S, f"standstill: {_progress(scene, clients)}; {_open_jobs(scene)}"
        if now - told > TELL_S:
            told = now
            say(f"calm: {_progress(scene, clients)}")
        time.sleep(LOOK_S)


def _progress(scene: Scene, clients: Clients) -> str:
    arrivals = scene.fleet.witness.arrivals
    counts = f"{len(clients.acknowledged)} jobs acknowledged, {len({each.key for each in arrivals})} events came"
    return f"{counts} in {len(arrivals)} requests, {scene.counts}"


def _open_jobs(scene: Scene) -> str:
    """Some of the jobs and events that hold it up."""
    jobs = [f"{each.job_id} {each.state}" for each in scene.fleet.ledger.jobs() if each.state not in {"done", "failed"}]
    events = [str(each) for each in scene.fleet.ledger.events() if each.status == "pending"]
    return ", ".join(jobs[:5] + events[:5])


def _verdict(plan: Plan, scene: Scene, clients: Clients) -> Verdict:
    fleet = scene.fleet
    evidence = fleet.evidence(list(clients.acknowledged.values()))
    seen = [(job_id, states) for each in clients.seen for job_id, states in each.items()]
    # Where the clock jumps ahead, a lease seems over while its run goes on: there can be one more at the upstream.
    slots = None if "clock-set" in plan.disasters else SLOTS
    most = fleet.upstream.max_in_flight
    return judge(replace(evidence, jobs=fleet.ledger.jobs(), seen=seen, slots=slots, most_at_once=most))


#: Every disaster there is, in the order of the table.
ALL = tuple(DISASTERS)
