"""foreman as it runs, held to what it says of itself at ``/openapi.json``, and that as people browse it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stack import Stack
from tests.fuzz.description import ENV, admin_key, examine

#: One seed, few requests, and of the two chats, whose bodies are those of a job but for a few keys, the made-up ones
#: alone: `make fuzz` has all of it.
SHORT = ("--exclude-method", "HEAD", "--phases", "examples,coverage,fuzzing,stateful")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Procfile's processes, with API keys asked for."""
    with Stack(tmp_path_factory.mktemp("described"), ENV) as running:
        yield running


def test_foreman_answers_as_it_is_described(stack: Stack) -> None:
    """Right and wrong requests made of the description, by every check that schemathesis has."""
    examined = examine(stack, admin_key(stack), seed=1, examples=3, options=SHORT)
    assert not examined.findings, examined.findings[0]
    assert examined.tested == examined.total >= 25
    assert examined.sent > 500
