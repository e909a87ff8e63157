"""One stack for the tests that leave it as they found it; those that break something start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stack import Stack
from tests.receiver import accept
from tests.upstream import reply


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Procfile's processes on SQLite."""
    with Stack(tmp_path_factory.mktemp("stack"), {"FOREMAN_ARTIFACTS_INLINE_LIMIT_B": "2000"}) as stack:
        yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    """The shared stack, with its peers at their defaults."""
    running.receiver.answer = accept
    running.upstream.default = reply("Hello", ", ", "world", "!")
    running.upstream.load_delay_s = 0.0
    running.upstream.loaded.clear()
    return running


@pytest.fixture
def own_directory(tmp_path: Path) -> Path:
    """Where a test's own stack keeps everything."""
    return tmp_path / "stack"
