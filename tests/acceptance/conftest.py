"""One stack for the tests that leave it as they found it; those that break something start their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

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
