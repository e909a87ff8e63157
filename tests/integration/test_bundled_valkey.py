from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from foreman.bundled import sockets, valkey
from foreman.settings import conf_path

DEADLINE_S = 60.0


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts the bundled Valkey over a data directory, and waits until it answers."""
    running: list[subprocess.Popen[bytes]] = []

    def start(data_dir: Path) -> subprocess.Popen[bytes]:
        command = valkey.command(data_dir, conf_path("valkey.conf"))
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        end = time.monotonic() + DEADLINE_S
        while not valkey.is_ready(data_dir):
            assert time.monotonic() < end, "Valkey does not answer"
            time.sleep(0.005)
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.wait()


@pytest.mark.parametrize("name", ["plain", "with space é", "x" * 120])
def test_what_was_written_survives_a_kill(
    start: Callable[[Path], subprocess.Popen[bytes]], tmp_path: Path, name: str
) -> None:
    """After SIGKILL it starts again over its stale socket with what was on disk, whatever its directory is called."""
    data_dir = tmp_path / name
    process = start(data_dir)
    with redis.Redis.from_url(valkey.url(data_dir)) as client:
        client.set("a", "b")
        # The file is synced every second at the latest; a kill of the process alone loses nothing that was written.
        client.waitaof(1, 0, 3000)
    process.kill()
    process.wait()
    assert not valkey.is_ready(data_dir)
    start(data_dir)
    with redis.Redis.from_url(valkey.url(data_dir)) as client:
        assert client.get("a") == b"b"


def test_only_its_owner_can_reach_it(start: Callable[[Path], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """The socket and its directory are closed to others, and there is no TCP port."""
    start(tmp_path)
    sock = valkey.socket_path(tmp_path)
    assert sock.stat().st_mode & 0o077 == 0
    assert sock.parent.stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(valkey.url(tmp_path)) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_it_stops_at_once_when_asked(start: Callable[[Path], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """SIGTERM ends it, with status 0."""
    process = start(tmp_path)
    process.terminate()
    assert process.wait(10) == 0


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Where the socket's path is too long, the short directory it moves to must be this user's alone."""
    data_dir = tmp_path / ("y" * 120)
    folder = valkey.socket_path(data_dir).parent
    folder.mkdir(mode=0o755)
    try:
        with pytest.raises(sockets.DirectoryUnsafe):
            valkey.command(data_dir, conf_path("valkey.conf"))
        folder.chmod(0o700)
        assert str(folder) in valkey.command(data_dir, conf_path("valkey.conf"))[-1]
    finally:
        folder.rmdir()


def test_the_sockets_path_fits_where_the_system_has_little_room(tmp_path: Path) -> None:
    """No data directory is too deep: the path stays within what the shortest system allows."""
    for depth in range(40):
        assert len(os.fsencode(valkey.socket_path(tmp_path / ("ddddddd/" * depth)))) <= sockets.MAX_SOCKET_PATH_B
