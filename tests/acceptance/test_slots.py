"""Slots with many processes that run jobs: all of them used, never more, and who gets the next one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Stack, eventually, with_jobs_processes
from tests.postgres import PostgresServer
from tests.upstream import Exchange, Received, reply
from tests.upstream_faults import NEVER_S

PROCESSES = 8

SLOTS = 3

#: Where they are killed: most of those that are have a job in hand then.
BARELY = SLOTS + 1

#: Seconds for which a worker that was killed keeps its slot. One that lives renews its lease every third of it, however
#: busy the machine: where nobody is killed, there is time for that.
LEASE_S = 8.0
CALM_LEASE_S = 60.0

#: Seconds for which an upstream goes on with what nobody waits for any more, as one that notices late does.
DEAF_S = 0.4

#: Workers that must have died with a job in hand.
LOST = 4

#: What has to wait behind one job of a higher priority.
BEHIND = 200


ENGINES = ("sqlite", "postgresql")

#: Up to a minute each on two busy cores, with nine processes to start.
pytestmark = pytest.mark.timeout(300)


@contextmanager
def started(
    engine: str, directory: Path, *, slots: int, processes: int, lease_s: float = CALM_LEASE_S
) -> Iterator[Stack]:
    """So many processes for so many slots, on either database, all of them ready."""
    env = {
        "FOREMAN_UPSTREAM_SLOTS": str(slots),
        "FOREMAN_JOBS_LEASE_S": str(lease_s),
        "FOREMAN_SWEEP_INTERVAL_S": "0.5",
    }
    commands = with_jobs_processes(processes)
    for idle in ("artifacts", "webhooks"):
        del commands[idle]
    with ExitStack() as exits:
        if engine == "postgresql":
            env["FOREMAN_DATABASE_URL"] = exits.enter_context(PostgresServer()).create("fleet")
        stack = exits.enter_context(Stack(directory, env, commands))
        jobs = [name for name in commands if name.startswith("jobs")]
        eventually(lambda: all("Handling messages" in stack.log(name) for name in jobs), "all are up")
        yield stack


class Turnstile:
    """An upstream's answer that lets calls out one by one, in the order in which they came in."""

    def __init__(self) -> None:
        self.waiting: list[threading.Event] = []
        self._open = False

    def __call__(self, exchange: Exchange) -> None:
        """Wait for ``release`` or ``open``; then answer."""
        gate = threading.Event()
        self.waiting.append(gate)
        if not self._open:
            exchange.pause(10 * NEVER_S, gate)
        reply("ok")(exchange)

    def release(self, number: int) -> None:
        """Let the call out that came as the ``number``-th, from 0."""
        self.waiting[number].set()

    def wait_for(self, count: int) -> None:
        """Until as many calls have come as that."""
        eventually(lambda: len(self.waiting) >= count, f"{count} calls")

    def open(self) -> None:
        """Let out all that there are and will be."""
        self._open = True
        for gate in self.waiting:
            gate.set()


def deaf(exchange: Exchange) -> None:
    """Generate for a time without a look at whether anybody still listens; then answer."""
    threading.Event().wait(DEAF_S)
    reply("ok")(exchange)


def submit(stack: Stack, content: str, **keys: Any) -> str:
    """A job without webhooks, known by what it says."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    answer = stack.ask("POST", "/jobs", body | keys)
    assert answer.status == 202, answer
    return str(answer.json["job_id"])


def more_chats(stack: Stack, seen: int) -> None:
    """Wait until there are more than were ``seen``: if each slot was a dead worker's, that is after its lease."""
    stack.upstream.wait_for(lambda: len(stack.upstream.chats) > seen, 60)


def said(call: Received) -> str:
    """What the job of a call says."""
    return str(call.body["messages"][0]["content"])


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_processes_use_three_slots_and_never_four(engine: str, own_directory: Path) -> None:
    """All slots are in use at once, the fourth job waits for one, and so it stays until the last job is done."""
    with started(engine, own_directory, slots=SLOTS, processes=PROCESSES) as fleet:
        turnstile = Turnstile()
        fleet.upstream.default = turnstile
        jobs = [submit(fleet, "x") for _ in range(24)]
        turnstile.wait_for(SLOTS)
        for number in range(12):
            turnstile.release(number)
            turnstile.wait_for(number + 1 + SLOTS)
        turnstile.open()
        for job_id in jobs:
            fleet.until(job_id, "done")
        assert fleet.upstream.max_in_flight == SLOTS


@pytest.mark.parametrize("engine", ENGINES)
def test_slots_are_not_exceeded_while_workers_are_killed(engine: str, own_directory: Path) -> None:
    """A slot whose worker was killed is given away when its lease is over, and the upstream has noticed long before."""
    with started(engine, own_directory, slots=SLOTS, processes=BARELY, lease_s=LEASE_S) as fleet:
        fleet.upstream.default = deaf
        jobs = [submit(fleet, "x") for _ in range(40)]
        victims = random.Random(3)
        while fleet.log("clock").count("worker lost") < LOST:
            seen = len(fleet.upstream.chats)
            victim = f"jobs{victims.randint(1, BARELY)}"
            fleet.kill(victim)
            fleet.start(victim)
            jobs += [submit(fleet, "x") for _ in range(2)]
            more_chats(fleet, seen)
        for job_id in jobs:
            assert fleet.until(job_id, "done", "failed", timeout_s=60)["state"] == "done"
        assert fleet.upstream.max_in_flight == SLOTS


@pytest.mark.parametrize("engine", ENGINES)
def test_interactive_work_takes_the_next_free_slot(engine: str, own_directory: Path) -> None:
    """Behind hundreds of batch jobs, and although its model has to be swapped in: by ``/jobs`` and by ``/api/chat``."""
    with started(engine, own_directory, slots=1, processes=2) as stack:
        turnstile = Turnstile()
        stack.upstream.default = turnstile
        for _ in range(BEHIND):
            submit(stack, "batch", priority="batch")
        turnstile.wait_for(1)
        submit(stack, "submitted", priority="interactive", model="other")
        turnstile.release(0)
        turnstile.wait_for(2)
        body = {"model": "another", "messages": [{"role": "user", "content": "chatted"}], "stream": False}
        chat = threading.Thread(target=stack.ask, args=("POST", "/api/chat", body))
        chat.start()
        eventually(lambda: stack.ask("GET", "/jobs?model=another").json["jobs"], "the chat is in line")
        turnstile.release(1)
        turnstile.wait_for(3)
        assert [said(call) for call in stack.upstream.chats] == ["batch", "submitted", "chatted"]
        turnstile.release(2)
        chat.join()
