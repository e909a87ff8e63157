"""Where tests that do not run on each keep artifacts: a directory, or S3 where pytest was told ``--artifacts s3``.

On S3 there is one server for the whole session, started when it is first needed, and a prefix of its bucket each.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from foreman.store.objects import Objects
from tests.object_store import BUCKET, ObjectStore

LOCAL, S3 = "local", "s3"
KINDS = (LOCAL, S3)

_numbers = itertools.count(1)


class Artifacts:
    """What this session of pytest was told, and the server that follows from it."""

    def __init__(self) -> None:
        self.kind = LOCAL
        self._server: ObjectStore | None = None
        self._exits = ExitStack()

    def settings(self) -> dict[str, str]:
        """What tells a foreman of an empty place of its own: nothing, since its data directory is one, or a prefix."""
        if self.kind == LOCAL:
            return {}
        if self._server is None:
            directory = self._exits.enter_context(TemporaryDirectory(prefix="foreman-s3-"))
            self._server = self._exits.enter_context(ObjectStore(Path(directory) / "moto.log"))
        return self._server.environ | {"FOREMAN_ARTIFACTS_URL": f"s3://{BUCKET}/tests/{next(_numbers)}"}

    def store(self, directory: Path) -> Objects:
        """An empty place for this process: that directory, which need not exist, or a prefix."""
        told = self.settings()
        with pytest.MonkeyPatch.context() as environment:
            for name, value in told.items():
                environment.setenv(name, value)
            return Objects(told.get("FOREMAN_ARTIFACTS_URL", directory.as_uri()))

    def end(self) -> None:
        """Stop the server, if there is one."""
        self._exits.close()
        self._server = None


ARTIFACTS = Artifacts()
