"""foreman's processes as they run in production: the settings of an installation, not those of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.stack import Stack, procfile
from tests.bench.lean import Lean
from tests.valkey import ValkeyServer

#: What a test sets lower so as not to wait; here every setting is the default, and a queue may become long.
PRODUCTION = {
    "FOREMAN_JOBS_LEASE_S": "30",
    "FOREMAN_JOBS_RETRY_DELAY_S": "1",
    "FOREMAN_WEBHOOK_TIMEOUT_S": "10",
    "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "1,2,4,8,16,60,300,1800,7200,21600",
    "FOREMAN_LOG_LEVEL": "warning",
}


@dataclass
class Measured(Stack):
    """A stack whose Valkey syncs as the bundled one does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.env = PRODUCTION | self.env
        self.valkey = ValkeyServer(self.directory / "valkey", append_only=True, sync="everysec")


def only(*names: str) -> dict[str, list[str]]:
    """Some of the Procfile's processes."""
    return {name: command for name, command in procfile().items() if name in names}


@contextmanager
def measured(directory: Path, upstream: Lean, *names: str, **env: str) -> Iterator[Measured]:
    """The named processes, or all, before a lean upstream; ``env`` without its prefix."""
    settings = {f"FOREMAN_{key.upper()}": value for key, value in env.items()}
    with Measured(directory, {"FOREMAN_UPSTREAM_URL": upstream.url} | settings, only(*(names or procfile()))) as stack:
        yield stack
