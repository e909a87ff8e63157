"""One stack for the tests that leave it as they found it (others start their own), and what commands are run with."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.commands import Start, starting
from tests.acceptance.stack import Stack
from tests.postgres import PostgresServer
from tests.receiver import accept
from tests.upstream import reply


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Procfile's processes, on each database."""
    env = {"FOREMAN_ARTIFACTS_INLINE_LIMIT_B": "2000"}
    with ExitStack() as exits:
        if request.param == "postgresql":
            server = exits.enter_context(PostgresServer())
            env["FOREMAN_DATABASE_URL"] = server.create("acceptance")
        yield exits.enter_context(Stack(tmp_path_factory.mktemp("stack"), env))


@pytest.fixture
def stack(running: Stack) -> Stack:
    """The shared stack, with its peers at their defaults and no job left over to take what the test has in store."""
    running.upstream.forget()
    running.cancel_all()
    running.receiver.answer = accept
    running.upstream.default = reply("Hello", ", ", "world", "!")
    running.upstream.load_delay_s = 0.0
    running.upstream.loaded.clear()
    return running


@pytest.fixture
def own_directory(tmp_path: Path) -> Path:
    """Where a test's own stack keeps everything."""
    return tmp_path / "stack"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Set when a model that was told to wait may go on; at the latest when the test is over."""
    found = threading.Event()
    yield found
    found.set()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands as processes, of which none outlives the test."""
    with starting() as begin:
        yield begin


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Its two ends: ours, and that of who runs on it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    os.set_blocking(ours, False)
    yield ours, theirs
    for each in (ours, theirs):
        os.close(each)
