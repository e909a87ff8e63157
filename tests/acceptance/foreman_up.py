"""The command ``foreman`` as a process, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foreman.bundled import postgres
from tests.acceptance.stack import eventually
from tests.addresses import free_port
from tests.artifacts import ARTIFACTS
from tests.databases import SESSION, SQLITE

ROOT = Path(__file__).parents[2]
#: Seconds in which everything has started, the model loaded or a job done, on a busy machine.
DEADLINE_S = 120.0
#: The variable that all processes of one test carry, by which they are found.
MARK = "FOREMAN_TEST_MARK"

COMMAND = (sys.executable, "-P", "-m", "foreman.cli")


def until(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until ``holds()``."""
    eventually(holds, "it has come about", deadline_s)


def environment(mark: str, settings: dict[str, str]) -> dict[str, str]:
    """The environment of a process under test: no setting but those given, and the mark."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FOREMAN_")}
    return (
        inherited
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), MARK: mark}
        | settings
    )


def processes(mark: str) -> dict[int, str]:
    """Process id to command line of every live process that carries the mark, a path, or works inside it.

    Linux only: it is read from ``/proc``. Valkey writes its title over its environment, so its directory tells.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (folder / "environ").read_bytes().split(b"\0")
            if f"{MARK}={mark}".encode() in environ or (folder / "cwd").readlink().is_relative_to(mark):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


class Client:
    """Speaks to the API on a loopback port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded JSON of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        data = None if body is None else json.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, {"Content-Type": "application/json"} | given)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None

    def is_healthy(self) -> bool:
        """Whether ``/healthz`` answers 200."""
        try:
            return self.call("GET", "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False


class Up(Client):
    """``foreman up`` over a data directory; leaving the block kills it and all that it started."""

    def __init__(self, data_dir: Path, port: int | None = None, options: Sequence[str] = (), **settings: str) -> None:
        super().__init__(port or free_port())
        self.options = options
        if SESSION.engine != SQLITE and "FOREMAN_DATABASE_URL" not in settings and not options:
            self.options = ["--postgres"]
        self.data_dir = data_dir
        self.mark = f"{data_dir}"
        own = {"FOREMAN_DATA_DIR": str(data_dir), "FOREMAN_WEB_BIND": f"127.0.0.1:{self.port}"}
        self._settings = own | ARTIFACTS.settings() | settings
        self._log = data_dir.parent / f"{data_dir.name}.log"
        self._out = data_dir.parent / f"{data_dir.name}.out"
        self.popen = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, again perhaps."""
        with self._out.open("wb") as out, self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*COMMAND, "up", *self.options],
                stdout=out,
                stderr=log,
                env=environment(self.mark, self._settings),
                cwd=self.data_dir.parent,
                start_new_session=True,
            )
        return self.popen

    @property
    def database_url(self) -> str:
        """Where the jobs are; it may have to be ready first."""
        is_sqlite = not postgres.is_in(self.data_dir)
        return f"sqlite:///{self.data_dir}/foreman.db" if is_sqlite else postgres.url(self.data_dir)

    @property
    def said(self) -> str:
        """What it printed on stdout."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """What it printed on stderr, since the first start."""
        return self._log.read_text()

    def until_ready(self) -> Self:
        """Wait until it says that it listens."""
        until(lambda: "Ctrl-C stops it" in self.said or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.log
        return self

    def process(self, part: str) -> int:
        """The id of the one process whose command line has ``part`` in it: the parent, where it forked others."""
        found: list[int] = []

        def look() -> bool:
            # Once for both, since a process that is starting or was killed may be gone at the next look.
            found[:] = self._matching(part)
            return bool(found)

        until(look)
        return min(found)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit status."""
        self.popen.send_signal(number)
        return self.popen.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pid in processes(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait(DEADLINE_S)

    def _matching(self, part: str) -> list[int]:
        return [pid for pid, line in processes(self.mark).items() if part in line]
