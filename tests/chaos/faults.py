"""What is done to a running fleet: each fault strikes, lasts, and leaves everything as it was, less what it broke."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.disk import Disk
from tests.chaos.fleet import Fleet
from tests.postgres import PostgresServer

#: Seconds between two kills, the least and the most.
KILL_PAUSE_S = (0.05, 0.25)

#: Kills in a row. Then the fleet has a respite until it has got on with its work, for a machine that does nothing but
#: start processes would show nothing; and seconds after which there is no use in waiting for that: on a machine with
#: much else to do a start takes ten.
BURST, RESPITE_S = 10, 30.0

#: Seconds between the end of a disaster and the next one.
DISASTER_PAUSE_S = (0.2, 1.0)

#: Seconds for which a process stands still: past a sender's lease of six seconds, and a run's of two.
FROZEN_S = 6.5

#: Seconds for which the disk is full, and the clock wrong; both are long for processes that look twice a second.
FULL_S, WRONG_S = 1.5, 1.5

#: Seconds by which the clock is set wrong, forwards or backwards.
CLOCK_STEP_S = 3600.0


@dataclass
class Scene:
    """What faults are done to, and the dice that decide on the details."""

    fleet: Fleet
    postgres: PostgresServer | None
    disk: Disk
    dice: random.Random
    #: Set when no more harm is to be done; a fault that lasts ends then.
    over: threading.Event = field(default_factory=threading.Event)
    #: Fault → how often it struck.
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> None:
        """It has struck once more."""
        self.counts[name] = self.counts.get(name, 0) + 1


Fault = Callable[[Scene], None]


def valkey_killed(scene: Scene) -> None:
    """Valkey dies and comes back with what was on its disk."""
    scene.fleet.valkey.restart()


def valkey_flushed(scene: Scene) -> None:
    """Every message is gone."""
    with scene.fleet.valkey.client() as client:
        client.flushall()


def valkey_emptied(scene: Scene) -> None:
    """Valkey dies and comes back with nothing."""
    scene.fleet.valkey.restart_empty()


def postgres_restarted(scene: Scene) -> None:
    """PostgreSQL crashes and recovers."""
    assert scene.postgres is not None
    scene.postgres.restart()


def frozen(scene: Scene) -> None:
    """A process stands still for longer than its leases, and then goes on as if nothing had been."""
    name = scene.dice.choice([each for each in scene.fleet.commands if each != "web"])
    with scene.fleet.spared(name):
        if scene.fleet.strike(name, signal.SIGSTOP):
            scene.over.wait(FROZEN_S)
            scene.fleet.strike(name, signal.SIGCONT)


def disk_full(scene: Scene) -> None:
    """Nothing more can be written: no log, no artifact, nothing to SQLite's database, no message to Valkey's file."""
    with scene.disk.full():
        scene.over.wait(FULL_S)


def clock_set(scene: Scene) -> None:
    """The machine's clock is set an hour ahead or back, and later right again."""
    scene.fleet.control.set_clock(scene.dice.choice((CLOCK_STEP_S, -CLOCK_STEP_S)))
    scene.over.wait(WRONG_S)
    scene.fleet.control.set_clock(0.0)


RESTART = "postgres-restarted"

#: By the name that is given on the command line. Kills are apart: they go on all the time.
DISASTERS: Mapping[str, Fault] = {
    "valkey-killed": valkey_killed,
    "valkey-flushed": valkey_flushed,
    "valkey-emptied": valkey_emptied,
    RESTART: postgres_restarted,
    "frozen": frozen,
    "disk-full": disk_full,
    "clock-set": clock_set,
}


def kills(scene: Scene, events: int, all_events: int) -> None:
    """SIGKILL some process every 50 to 250 ms, with a respite for so many ``events`` after each burst of kills.

    There is none once ``all_events`` were accepted.
    """
    killed = 0
    while not scene.over.wait(scene.dice.uniform(*KILL_PAUSE_S)):
        name = scene.dice.choice(list(scene.fleet.commands))
        if not scene.fleet.is_spared(name) and scene.fleet.strike(name):
            scene.count("killed")
            killed += 1
            if killed % BURST == 0:
                _respite(scene, min(scene.fleet.witness.accepted + events, all_events))


def _respite(scene: Scene, enough: int) -> None:
    """Wait until the receiver has accepted so many events in all."""
    deadline = time.monotonic() + RESPITE_S
    while scene.fleet.witness.accepted < enough and time.monotonic() < deadline:
        if scene.over.wait(KILL_PAUSE_S[0]):
            return


def disasters(scene: Scene, names: Sequence[str]) -> None:
    """One disaster after the other, all of them before any comes again, until it is over.

    A restart of PostgreSQL comes after each of the others: every few seconds.
    """
    each_time = [name for name in names if name == RESTART]
    others = [name for name in names if name != RESTART]
    while (others or each_time) and not scene.over.is_set():
        order = [then for name in scene.dice.sample(others, len(others)) for then in (name, *each_time)]
        for name in order or each_time:
            if scene.over.wait(scene.dice.uniform(*DISASTER_PAUSE_S)):
                return
            DISASTERS[name](scene)
            scene.count(name)
