from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from foreman.bundled import postgres, sockets

DEADLINE_S = 60.0

Start = Callable[[Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Sets PostgreSQL up in a data directory, once, starts it as the supervisor does, and waits until it answers."""
    running: list[subprocess.Popen[bytes]] = []

    def start(data_dir: Path) -> subprocess.Popen[bytes]:
        data_dir.mkdir(mode=0o700, exist_ok=True)
        postgres.prepare(data_dir)
        account = postgres.account()
        identity: Any = {} if account is None else {"user": account[0], "group": account[1], "extra_groups": ()}
        argv = postgres.command(data_dir, 5)
        running.append(subprocess.Popen(argv, cwd=postgres.home(data_dir), **identity))
        end = time.monotonic() + DEADLINE_S
        while not postgres.is_ready(data_dir):
            assert running[-1].poll() is None, "PostgreSQL ended"
            assert time.monotonic() < end, "PostgreSQL does not answer"
            time.sleep(0.02)
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.wait()


@pytest.mark.parametrize("name", ["with space é, and a comma", "x" * 120])
def test_what_was_committed_survives_a_kill(start: Start, tmp_path: Path, name: str) -> None:
    """After SIGKILL it recovers what was committed, also where its directory's name is no name for a socket."""
    data_dir = tmp_path / name
    process = start(data_dir)
    with psycopg.connect(postgres.url(data_dir)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
    process.kill()
    process.wait()
    start(data_dir)
    with psycopg.connect(postgres.url(data_dir)) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(42,)]


def test_only_its_owner_can_reach_it(start: Start, tmp_path: Path) -> None:
    """There is no port, the socket's directory is closed to others, and the kernel says who connects: no password."""
    process = start(tmp_path)
    sock = postgres.socket_path(tmp_path)
    assert sock.parent.stat().st_mode & 0o077 == 0
    assert sock.stat().st_mode & 0o077 == 0
    assert Path(f"/proc/{process.pid}").stat().st_uid != 0
    with psycopg.connect(postgres.url(tmp_path)) as connection:
        told = connection.execute("SELECT current_setting('listen_addresses'), current_setting('fsync')").fetchall()
        ways = connection.execute("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules ORDER BY 1").fetchall()
    assert told == [("", "on")]
    assert ways == [("host", "reject"), ("local", "peer")]


def test_it_stops_at_once_though_somebody_is_connected(start: Start, tmp_path: Path) -> None:
    """SIGINT, by which the supervisor stops it, waits for nobody, and leaves nothing to recover."""
    process = start(tmp_path)
    with psycopg.connect(postgres.url(tmp_path)):
        process.send_signal(2)
        assert process.wait(DEADLINE_S) == 0
    assert not (postgres.home(tmp_path) / "postmaster.pid").exists()


def test_a_set_up_that_was_cut_short_begins_anew(start: Start, tmp_path: Path) -> None:
    """What is half made is under another name, and in nobody's way."""
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    assert not postgres.is_in(tmp_path)
    start(tmp_path)
    assert postgres.is_in(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["postgres"]


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Where the socket's path is too long, the short directory it moves to must be the server's alone."""
    data_dir = tmp_path / ("y" * 120)
    folder = postgres.socket_path(data_dir).parent
    folder.mkdir(mode=0o755)
    try:
        with pytest.raises(sockets.DirectoryUnsafe):
            postgres.prepare(data_dir)
    finally:
        folder.rmdir()


def test_a_server_that_another_user_set_up_is_told_apart(tmp_path: Path) -> None:
    """One line says whose it would have to be, where PostgreSQL itself would only fail to read a file."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    os.chown(tmp_path / "postgres", 12_345, 12_345)  # for which the test has to be root
    with pytest.raises(postgres.PostgresUnavailable, match="belongs to another user"):
        postgres.prepare(tmp_path)


def test_programs_out_of_reach_are_copied_whole_and_once(tmp_path: Path) -> None:
    """A virtual environment below /root is shut to the user that PostgreSQL runs as."""
    package = postgres.package()
    assert package is not None
    copies = [postgres.copied(package, tmp_path / "programs") for _ in range(2)]
    assert copies[0] == copies[1]
    told = subprocess.run([copies[0] / "pginstall/bin/postgres", "--version"], capture_output=True, check=True)
    assert told.stdout.startswith(b"postgres (PostgreSQL) ")
    assert os.listdir(tmp_path) == ["programs"]  # noqa: PTH208 -- names are what is compared
