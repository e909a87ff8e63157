from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.foreman_up import COMMAND, DEADLINE_S, ROOT, Client, Up, environment, processes, until
from tests.addresses import free_port
from tests.upstream import FakeOllama
from tests.valkey import ValkeyServer

CHAT = {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Say hello."}], "options": {"num_predict": 8}}

#: A part of the command line of each process that ``foreman up`` runs.
PARTS = ("valkey-server", "process web", "process jobs", "process artifacts", "process webhooks", "process clock")


@pytest.fixture
def upstream() -> Iterator[FakeOllama]:
    """A model server that answers at once."""
    with FakeOllama() as fake:
        yield fake


@pytest.mark.sqlite
def test_everything_runs_in_an_empty_directory_and_stops_when_asked(tmp_path: Path) -> None:
    """With nothing configured a real model answers; SIGINT ends it with status 0 and leaves no process."""
    with Up(tmp_path / "state").until_ready() as up:
        assert up.said.splitlines() == [
            f"foreman is listening on http://127.0.0.1:{up.port}",
            f"  page:     http://127.0.0.1:{up.port}/ui",
            "  upstream: bundled smollm2:135m (llama.cpp)",
            f"  data:     {up.data_dir}",
            "  Ctrl-C stops it",
        ]
        assert (up.data_dir.stat().st_mode & 0o777) == 0o700
        status, job = up.call("POST", "/jobs", CHAT, Prefer="wait=60")
        assert (status, job["state"]) == (200, "done"), up.log
        assert job["result"]["message"]["content"]
        started = time.monotonic()
        assert up.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 30
        assert processes(up.mark) == {}


def test_state_survives_a_stop_and_a_start(tmp_path: Path, upstream: FakeOllama) -> None:
    """A job submitted before a stop is there after the next start, from whatever directory that is made."""
    with Up(tmp_path / "state", FOREMAN_UPSTREAM_URL=upstream.url).until_ready() as up:
        _, job = up.call("POST", "/jobs", CHAT, Prefer="wait=60")
        assert up.stop() == 0
        up.start()
        up.until_ready()
        assert up.call("GET", f"/jobs/{job['job_id']}")[1]["state"] == "done"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One ``foreman up`` for tests that leave it whole."""
    with FakeOllama() as fake, Up(tmp_path_factory.mktemp("whole"), FOREMAN_UPSTREAM_URL=fake.url) as up:
        yield up.until_ready()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_comes_back(whole: Up, part: str) -> None:
    """Whichever process dies by SIGKILL, a new one takes its place, and jobs are done as before."""
    before, said = whole.process(part), whole.log.count("was killed by signal 9")
    os.kill(before, signal.SIGKILL)
    until(lambda: before not in processes(whole.mark) and whole.process(part) != before)
    until(whole.is_healthy)
    status, job = whole.call("POST", "/jobs", CHAT, Prefer="wait=60")
    assert (status, job["state"]) == (200, "done"), whole.log
    assert whole.log.count("was killed by signal 9") == said + 1
    assert whole.popen.poll() is None


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_works(tmp_path: Path, upstream: FakeOllama) -> None:
    """SIGKILL of ``foreman up`` takes all with it, so that the same command can be given again at once."""
    with Up(tmp_path / "state", FOREMAN_UPSTREAM_URL=upstream.url).until_ready() as up:
        up.stop(signal.SIGKILL)
        until(lambda: processes(up.mark) == {})
        up.start()
        up.until_ready()
        assert up.call("POST", "/jobs", CHAT, Prefer="wait=60")[1]["state"] == "done"


def refused(tmp_path: Path, **settings: str) -> tuple[int, list[str]]:
    """Exit status and lines on stderr of a ``foreman up`` that cannot start."""
    environ = environment("refused", {"FOREMAN_DATA_DIR": str(tmp_path / "other"), **settings})
    done = subprocess.run(
        [*COMMAND, "up"], env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_two_cannot_share_a_data_directory(tmp_path: Path, whole: Up) -> None:
    """The second is refused with one line that names the first."""
    line = f"foreman: Another `foreman up` (process {whole.popen.pid}) runs in {whole.data_dir}"
    assert refused(tmp_path, FOREMAN_DATA_DIR=str(whole.data_dir)) == (1, [line])


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """The start ends at once, and the line says which address and which setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, lines = refused(tmp_path, FOREMAN_WEB_BIND=address)
    assert (status, lines) == (1, [f"foreman: web.bind: cannot listen on {address}: Address already in use"])


def test_wrong_settings_are_a_line_each(tmp_path: Path) -> None:
    """All that is wrong is said at once, without a traceback, with status 2."""
    status, lines = refused(tmp_path, FOREMAN_WEB_THREADS="many", FOREMAN_UPSTREAM_URL="ollama")
    assert status == 2
    assert [line.split(" must be ")[0] for line in sorted(lines)] == ["foreman: upstream.url:", "foreman: web.threads:"]


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file where the directory should be is said in one line."""
    (tmp_path / "file").touch()
    status, lines = refused(tmp_path, FOREMAN_DATA_DIR=str(tmp_path / "file" / "state"))
    assert (status, len(lines)) == (1, 1)
    assert "cannot be made" in lines[0]


def test_the_procfiles_commands_run_apart(tmp_path: Path, upstream: FakeOllama) -> None:
    """The commands of the Procfile, as they stand there, against a Redis of their own, do a job and stop cleanly."""
    shim = tmp_path / "bin" / "foreman"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    shim.chmod(0o755)
    commands = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    with ValkeyServer(tmp_path / "valkey") as valkey:
        port = free_port()
        environ = environment(
            str(tmp_path),
            {
                "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
                "FOREMAN_DATA_DIR": str(tmp_path / "state"),
                "FOREMAN_WEB_BIND": f"127.0.0.1:{port}",
                "FOREMAN_REDIS_URL": valkey.url,
                "FOREMAN_UPSTREAM_URL": upstream.url,
            },
        )
        subprocess.run([*COMMAND, "migrate"], env=environ, check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
        running = {
            name: subprocess.Popen(["/bin/sh", "-c", f"exec {line}"], env=environ) for name, line in commands.items()
        }
        try:
            client = Client(port)
            until(client.is_healthy)
            assert client.call("POST", "/jobs", CHAT, Prefer="wait=60")[1]["state"] == "done"
            for each in running.values():
                each.terminate()
            assert {name: each.wait(DEADLINE_S) for name, each in running.items()} == dict.fromkeys(commands, 0)
        finally:
            for each in running.values():
                each.kill()
                each.wait()


def test_a_process_started_apart_needs_to_be_told_of_redis(tmp_path: Path) -> None:
    """Without ``redis.url`` there is nothing to share with others: one line, status 2."""
    for name in ("web", "jobs", "clock"):
        environ = environment("apart", {"FOREMAN_DATA_DIR": str(tmp_path)})
        argv = [*COMMAND, "process", name]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith("foreman: redis.url: is empty")
