"""Other projects that foreman stands beside, in an environment of their own, made from ``peers.lock`` when needed.

None of them is a dependency of foreman: `make lock` and the tests know nothing of them.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.stack import eventually
from tests.addresses import free_port
from tests.bench.lean import ROOT, Lean

_HERE = Path(__file__).parent
LOCK = _HERE / "peers.lock"
PLACE = ROOT / ".venv" / "peers"
#: Celery's processes: of 2, 4 and 8 on two cores the fastest.
CELERY_PROCESSES = 4


def install() -> None:
    """Make the environment, unless it is there as the lock says; takes a minute and 600 MB."""
    stamp = PLACE / "installed.lock"
    if stamp.exists() and stamp.read_bytes() == LOCK.read_bytes():
        return
    uv = [str(Path(sys.executable).parent / "uv")]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PLACE)], check=True)
    wanted = ["--require-hashes", "--no-config", "--system-certs", "--python", str(PLACE / "bin" / "python")]
    subprocess.run([*uv, "pip", "sync", "--quiet", *wanted, str(LOCK)], check=True)
    stamp.write_bytes(LOCK.read_bytes())


@dataclass
class Peer:
    """A program that answers each line with a line."""

    process: subprocess.Popen[str]

    def ask(self, line: str = "") -> str:
        """Its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the peer ended; its log says why"
        return answer.strip()


@contextmanager
def program(name: str, directory: Path, **env: str) -> Iterator[Peer]:
    """One of ``peer/``, once it is ready; it writes its log into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    argv = [str(PLACE / "bin" / "python"), str(_HERE / "peer" / f"{name}.py")]
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            cwd=directory,
            env=_environ(directory, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        peer = Peer(process)
        assert peer.ask() == "ready"
        yield peer
    finally:
        process.kill()
        process.communicate()


@contextmanager
def hoglah(directory: Path) -> Iterator[Peer]:
    """hoglah, with its worker."""
    with program("hoglah_jobs", directory, BENCH_DATABASE=str(directory / "hoglah.db")) as peer:
        yield peer


@contextmanager
def celery(directory: Path, upstream: Lean, redis_url: str) -> Iterator[Peer]:
    """Celery, with its worker; ``redis_url`` is a database of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    env = {
        "BENCH_DATABASE": str(directory / "celery.db"),
        "BENCH_UPSTREAM_PORT": str(upstream.ports[0]),
        "BENCH_REDIS_URL": redis_url,
        "PYTHONPATH": str(_HERE / "peer"),
    }
    argv = [str(PLACE / "bin" / "celery"), "-A", "celery_jobs", "worker", "--pool", "prefork"]
    argv += ["--concurrency", str(CELERY_PROCESSES), "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    with program("celery_jobs", directory, **env) as peer:
        with (directory / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                argv, cwd=directory, env=_environ(directory, env), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield peer
        finally:
            worker.terminate()
            worker.wait(60)


@contextmanager
def litellm(directory: Path, upstream: Lean) -> Iterator[int]:
    """LiteLLM's proxy before the upstream; its port."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: m\n    litellm_params:\n"
        f"      model: ollama_chat/m\n      api_base: {upstream.url}\nlitellm_settings:\n  telemetry: false\n"
    )
    port = free_port()
    argv = [str(PLACE / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Without keys, as foreman is on loopback.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with (directory / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=directory, env=_environ(directory, env), stdout=log, stderr=log, start_new_session=True
        )
    try:
        eventually(lambda: _is_up(port), f"LiteLLM, whose log is {directory}/litellm.log", 180)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/liveliness")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _environ(directory: Path, more: dict[str, str]) -> dict[str, str]:
    path = f"{PLACE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(directory), "PYTHONUNBUFFERED": "1"} | more
