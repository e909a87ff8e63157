"""Foreman's processes, several of most kinds, each started again at once when it dies, and ready to be harmed."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.acceptance.stack import ROOT, Stack, eventually, procfile
from tests.chaos.injection import FOLDER, Control
from tests.chaos.judge import Evidence
from tests.chaos.ledger import Ledger
from tests.chaos.moods import Witness
from tests.valkey import ValkeyServer

#: Every process of the suite: two of those that take work from each other.
PROCESSES = ("web", "jobs", "jobs-2", "artifacts", "webhooks", "webhooks-2", "clock")

#: Seconds between two looks for processes that have died.
_LOOK_S = 0.02

#: Requests that the upstream takes at once.
SLOTS = 4

#: Short waits, so that what a dead process held comes back in seconds; patience without end, so that nothing is given
#: up and all that is missing in the end was lost.
_SETTINGS = {
    "FOREMAN_UPSTREAM_SLOTS": str(SLOTS),
    "FOREMAN_JOBS_LEASE_S": "2",
    "FOREMAN_JOBS_RETRY_DELAY_S": "0.1",
    "FOREMAN_JOBS_RETRY_DELAY_MAX_S": "1",
    "FOREMAN_JOBS_MAX_ATTEMPTS": "100",
    "FOREMAN_JOBS_MAX_WORKER_LOSSES": "1000",
    "FOREMAN_WEBHOOK_TIMEOUT_S": "1",
    "FOREMAN_WEBHOOK_RETRY_DELAYS_S": ",".join(["0.2"] * 200),
    "FOREMAN_WEBHOOK_NONTERMINAL_RETRIES": "200",
    # A dead sender holds its place for as long as its lease: with few of them all would stand still meanwhile.
    "FOREMAN_WEBHOOK_ORIGIN_CONCURRENCY": "64",
    "FOREMAN_SWEEP_INTERVAL_S": "0.5",
    # Some completions are larger than this and some are not.
    "FOREMAN_ARTIFACTS_INLINE_LIMIT_B": "600",
}


class Fleet(Stack):
    """The processes named, at work on ``database_url`` (None: SQLite); each that dies is started again."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        processes: Sequence[str] = PROCESSES,
        settings: dict[str, str] | None = None,
    ) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "chaos" / "site")])
        env = _SETTINGS | {"PYTHONPATH": path, FOLDER: str(directory / "chaos")} | (settings or {})
        if database_url is not None:
            env["FOREMAN_DATABASE_URL"] = database_url
        super().__init__(directory, env, {name: _command(name) for name in processes})
        # As in conf/valkey.conf; one that is to sync each message ends itself where the disk is full.
        self.valkey = ValkeyServer(directory / "valkey", append_only=True, sync="everysec")
        self.control = Control(directory / "chaos")
        self.ledger = Ledger(database_url or f"sqlite:///{directory}/data/foreman.db")
        self.witness = Witness()
        self.receiver.answer = self.witness
        self._spared: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def add(self, name: str) -> None:
        """Start one more process."""
        with self._lock:
            self.commands[name] = _command(name)
            self.start(name)

    def remove(self, name: str) -> None:
        """Kill a process and start it no more."""
        with self._lock:
            self.kill(name)
            del self.processes[name]

    def strike(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal to a process and all that it started; False if it is dead already."""
        with self._lock:
            process = self.processes[name]
            if process.poll() is not None:
                return False
            os.killpg(process.pid, number)
            return True

    def freeze(self, name: str) -> None:
        """SIGSTOP, at a moment when it is in no transaction: one that stands still in there holds up all the others."""
        if self.ledger.is_sqlite:
            with (self.directory / "data" / "foreman.db.lock").open("rb") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                self._stop(name)
            return
        self._stop(name)
        while self.ledger.is_in_transaction(name):
            self.strike(name, signal.SIGCONT)
            eventually(lambda: not self.ledger.is_in_transaction(name), f"{name} is between two transactions")
            self._stop(name)

    @contextmanager
    def spared(self, name: str) -> Iterator[None]:
        """Nobody is to kill this process in the block: it is being harmed otherwise."""
        self._spared.add(name)
        try:
            yield
        finally:
            self._spared.discard(name)

    def is_spared(self, name: str) -> bool:
        """Whether it is not to be killed now."""
        return name in self._spared

    def evidence(self, acknowledged: Sequence[str]) -> Evidence:
        """What is known of these jobs."""
        wanted = frozenset(acknowledged)
        return Evidence(
            acknowledged=acknowledged,
            jobs=[each for each in self.ledger.jobs() if each.job_id in wanted],
            events=[each for each in self.ledger.events() if each.job_id in wanted],
            tries=[each for each in self.ledger.tries() if each.job_id in wanted],
            arrivals=[each for each in self.witness.arrivals if each.job_id in wanted],
        )

    def __enter__(self) -> Self:
        super().__enter__()
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        super().__exit__(kind, error, at)

    def _stop(self, name: str) -> None:
        self.strike(name, signal.SIGSTOP)
        state = Path(f"/proc/{self.processes[name].pid}/stat")
        eventually(lambda: state.read_text().rpartition(") ")[2][0] == "T", f"{name} stands still")

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_S):
            with self._lock:
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        self.start(name)


def _command(name: str) -> list[str]:
    """As the Procfile has it; a number tells one of a kind from another."""
    return procfile()[name.partition("-")[0]]
