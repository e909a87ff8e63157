"""``foreman doctor`` as a process, where what it is to find is really so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.foreman_up import COMMAND, ROOT, environment
from tests.addresses import free_port
from tests.upstream import FakeOllama
from tests.valkey import ValkeyServer

#: A clock an hour slow, in every process that has this directory on its path.
_SLOW_CLOCK = "import time\n_ns = time.time_ns\ntime.time_ns = lambda: _ns() - 3_600_000_000_000\n"


def _run(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """``foreman …`` with no settings but these."""
    told = {"HOME": str(home), "FOREMAN_DATA_DIR": str(home / "data"), "NO_COLOR": "1"} | settings
    env = environment(str(home), told)
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)


def _findings(home: Path, **settings: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit status, and what was found by check."""
    done = _run(home, "doctor", "--json", **settings)
    assert done.stderr == ""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(done.stdout)["findings"]:
        found.setdefault(each["check"], []).append(each)
    return done.returncode, found


@contextmanager
def _occupied(*answers: bytes) -> Iterator[int]:
    """A port on which something else than foreman listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The broker of those that have one."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


def test_everything_that_is_away_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Database, broker, upstream, data directory, port and secret, each by itself and all in one go."""
    nobody = f"127.0.0.1:{free_port()}"
    with _occupied() as port:
        status, found = _findings(
            tmp_path,
            FOREMAN_DATABASE_URL=f"postgresql://foreman:hunter2@{nobody}/foreman",
            FOREMAN_REDIS_URL=f"redis://:hunter2@{nobody}/0",
            FOREMAN_UPSTREAM_URL=f"http://me:hunter2@{nobody}",
            FOREMAN_DATA_DIR="/proc/foreman",
            FOREMAN_WEB_BIND=f"127.0.0.1:{port}",
        )
    assert status == 1
    expected = {
        "database": ("problem", "Connection refused", "FOREMAN_DATABASE_URL"),
        "broker": ("problem", "Connection refused", "FOREMAN_REDIS_URL"),
        "upstream default": ("problem", "refused the connection", "FOREMAN_UPSTREAM_URL"),
        "disk": ("problem", "/proc/foreman cannot be written", "FOREMAN_DATA_DIR"),
        "port": ("problem", "taken by another program", "FOREMAN_WEB_BIND"),
        "webhooks": ("warning", "webhook.secret is empty", "FOREMAN_WEBHOOK_SECRET"),
    }
    for check, (level, cause, remedy) in expected.items():
        [each] = found[check]
        assert each["level"] == level
        assert cause in each["detail"]
        assert remedy in each["remedy"]
    assert "hunter2" not in json.dumps(found)


def test_a_data_directory_that_belongs_to_something_else_is_one_line(tmp_path: Path) -> None:
    """What needs it stops with status 2, and the file that is there stays as it is."""
    (tmp_path / "data").write_text("a file")
    refused = _run(tmp_path, "migrate")
    assert refused.returncode == 2
    assert refused.stderr.startswith("foreman: data.dir: cannot be used: ")
    assert refused.stderr.count("\n") == 1
    assert (tmp_path / "data").read_text() == "a file"


def test_a_file_that_is_no_database_is_told_of_by_every_command(tmp_path: Path) -> None:
    """As one line of the doctor's, and as one line of what needs it; nobody sees a traceback."""
    (tmp_path / "notes.txt").write_text("not a database\n" * 100)
    wrong = {"FOREMAN_DATABASE_URL": f"sqlite:///{tmp_path}/notes.txt"}
    _, found = _findings(tmp_path, **wrong)
    [each] = found["database"]
    assert each["level"] == "problem"
    assert "file is not a database" in each["detail"]
    assert "FOREMAN_DATABASE_URL" in each["remedy"]
    for command in (["prune"], ["keys", "list"], ["migrate"]):
        refused = _run(tmp_path, *command, **wrong)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert refused.stderr == "foreman: the database cannot be used now: file is not a database\n"


def test_no_models_and_a_wrong_clock_are_told_of(tmp_path: Path, valkey: ValkeyServer) -> None:
    """What answers, and yet is of no use: an upstream without a model, and a clock an hour behind that of Redis."""
    (tmp_path / "sitecustomize.py").write_text(_SLOW_CLOCK)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    fake = FakeOllama(models=set())
    fake.start()
    try:
        told = {"FOREMAN_UPSTREAM_URL": fake.url, "FOREMAN_REDIS_URL": valkey.url, "FOREMAN_WEBHOOK_SECRET": "s3cret"}
        status, found = _findings(tmp_path, **told, PYTHONPATH=path)
    finally:
        fake.stop()
    assert status == 1
    [upstream] = found["upstream default"]
    assert (upstream["level"], upstream["remedy"]) == ("problem", "ollama pull llama3.2, on its machine")
    assert "no models" in upstream["detail"]
    behind = [each for each in found["clock"] if "behind Redis's" in each["detail"]]
    assert [each["level"] for each in behind] == ["problem"]
    assert "3,600 s" in behind[0]["detail"]
    assert "ntp" in behind[0]["remedy"].lower()
    assert {each["level"] for name in ("broker", "webhooks", "disk", "port") for each in found[name]} == {"ok"}


def test_a_database_is_migrated_and_found_well(tmp_path: Path) -> None:
    """A dry run says what would be applied and makes nothing, not even the directory."""
    dry = _run(tmp_path, "migrate", "--dry-run")
    assert dry.returncode == 0
    assert "would apply 0001_initial" in dry.stdout
    assert not (tmp_path / "data").exists()
    assert "applied 0001_initial" in _run(tmp_path, "migrate").stdout
    assert json.loads(_run(tmp_path, "migrate", "--dry-run", "--json").stdout) == {"pending": []}
    strict = _run(tmp_path, "doctor", "--strict", "--json")
    assert strict.returncode == 1, "the secret is missing, which it minds only so"
    wrong = [each for each in json.loads(strict.stdout)["findings"] if each["level"] != "ok"]
    assert [each["check"] for each in wrong] == ["webhooks"]
    assert "at the newest schema" in strict.stdout


def test_a_wrong_setting_is_a_finding_and_elsewhere_a_line(tmp_path: Path) -> None:
    """The doctor tells all that is wrong; what needs the settings stops with status 2, and nobody sees a traceback."""
    wrong = {"FOREMAN_DATABASE_URL": "mysql://foreman:hunter2@db/foreman"}
    status, found = _findings(tmp_path, **wrong)
    assert status == 1
    assert "FOREMAN_DATABASE_URL" in found["settings"][0]["detail"]
    assert "hunter2" not in json.dumps(found)
    refused = _run(tmp_path, "migrate", **wrong)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("foreman: database.url: must be sqlite:")


def test_a_database_that_is_away_is_one_line_and_status_3(tmp_path: Path) -> None:
    """So a script can tell "later" from "never"; the password is not in the line."""
    away = f"postgresql://foreman:hunter2@127.0.0.1:{free_port()}/foreman"
    done = _run(tmp_path, "migrate", FOREMAN_DATABASE_URL=away)
    assert done.returncode == 3
    assert done.stderr.startswith("foreman: the database cannot be used now: ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
