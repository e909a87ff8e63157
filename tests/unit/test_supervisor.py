from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foreman.cli.child import HEALTHY_S, Child, Process
from foreman.cli.console import MAX_LINE_B, Lines

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0

#: Writes its process id to argv[1] and waits; says "stopped" when asked to stop.
POLITE = """
import os, signal, sys, time
def stop(*_):
    print("stopped", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("started", flush=True)
open(sys.argv[1] + ".part", "w").write(str(os.getpid()))
os.replace(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""

#: The same, deaf to SIGTERM, with a child of its own whose process id goes to argv[2].
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
for name, pid in ((sys.argv[2], grandchild.pid), (sys.argv[1], os.getpid())):
    open(name + ".part", "w").write(str(pid))
    os.replace(name + ".part", name)
time.sleep(600)
"""


def until(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until ``holds()``; fail after ``deadline_s`` seconds."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which nobody may have reaped in a container, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def pid_in(path: Path) -> int:
    """The process id that a child writes to ``path`` when it has started."""
    until(path.exists)
    return int(path.read_text())


class Run:
    """A supervisor in a process of its own."""

    def __init__(self, children: list[dict[str, Any]], folder: Path) -> None:
        self.log = folder / "supervisor.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "supervised.py"), json.dumps(children)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return self.log.read_text()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self.popen.wait(DEADLINE_S)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts supervisors over the children given, and kills what is left of them afterwards."""
    runs: list[Run] = []

    def start(*children: dict[str, Any]) -> Run:
        runs.append(Run(list(children), tmp_path))
        return runs[-1]

    yield start
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            run.popen.kill()
        run.popen.wait()


def polite(name: str, pid_file: Path, **rest: Any) -> dict[str, Any]:
    """A child that writes its process id and stops when asked."""
    argv = [sys.executable, "-c", POLITE, str(pid_file)]
    return {"name": name, "argv": argv, "stage": 0, "grace_s": DEADLINE_S} | rest


def test_a_child_that_is_killed_runs_again(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """A child that dies by SIGKILL is replaced by a new process, and one line says so."""
    run = supervise(polite("a", tmp_path / "a"))
    until(lambda: "READY" in run.output)
    first = pid_in(tmp_path / "a")
    (tmp_path / "a").unlink()
    os.kill(first, signal.SIGKILL)
    second = pid_in(tmp_path / "a")
    assert second != first
    assert is_alive(second)
    assert "a was killed by signal 9; starting it again in 0.5 s" in run.output


def test_children_start_in_order_and_stop_in_the_opposite_one(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """A stage starts when the one below it is ready, and stops before it; the exit status is 0."""
    low, high = tmp_path / "low", tmp_path / "high"
    run = supervise(polite("high", high, stage=1), polite("low", low, ready=str(low)))
    until(lambda: "READY" in run.output and "high    | started" in run.output)
    pid_in(high)
    assert run.output.index("low     | started") < run.output.index("high    | started")
    run.popen.send_signal(signal.SIGTERM)
    assert run.wait() == 0
    assert run.output.index("high    | stopped") < run.output.index("low     | stopped")


def test_a_child_is_not_started_before_what_it_needs_is_ready(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """While a lower stage is not ready, a higher one has no process."""
    run = supervise(
        polite("low", tmp_path / "low", ready=str(tmp_path / "go")), polite("high", tmp_path / "high", stage=1)
    )
    pid_in(tmp_path / "low")
    assert "high" not in run.output
    (tmp_path / "go").touch()
    pid_in(tmp_path / "high")


def test_a_child_deaf_to_sigterm_is_killed_with_all_it_started(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """After its grace a child gets SIGKILL, and so does what it started."""
    pids = [tmp_path / "child", tmp_path / "grandchild"]
    argv = [sys.executable, "-c", STUBBORN, *map(str, pids)]
    run = supervise({"name": "deaf", "argv": argv, "stage": 0, "grace_s": 0.3})
    alive = [pid_in(each) for each in pids]
    run.popen.send_signal(signal.SIGTERM)
    assert run.wait() == 0
    assert "deaf did not stop within 0.3 s" in run.output
    until(lambda: not any(map(is_alive, alive)))


def test_a_second_signal_kills_at_once(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """Who asks again gets an end without the grace, and an exit status that says so."""
    argv = [sys.executable, "-c", STUBBORN, str(tmp_path / "child"), str(tmp_path / "grandchild")]
    run = supervise({"name": "deaf", "argv": argv, "stage": 0, "grace_s": 600})
    pid = pid_in(tmp_path / "child")
    run.popen.send_signal(signal.SIGINT)
    until(lambda: "stopping" in run.output)
    # Signals are taken for one and the same until a second has passed, so repeat it until it counts; no more often than
    # that, since one that comes while the interpreter ends would end it by itself.
    while "is killed" not in run.output:
        run.popen.send_signal(signal.SIGINT)
        with contextlib.suppress(AssertionError):
            until(lambda: "is killed" in run.output, deadline_s=1.5)
    assert run.wait() == 1
    until(lambda: not is_alive(pid))


def test_nothing_outlives_a_supervisor_that_is_killed(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """When the supervisor dies by SIGKILL, its children die too."""
    run = supervise(polite("a", tmp_path / "a"), polite("b", tmp_path / "b"))
    pids = [pid_in(tmp_path / "a"), pid_in(tmp_path / "b")]
    run.popen.kill()
    until(lambda: not any(map(is_alive, pids)))


def test_a_start_that_cannot_succeed_is_given_up(supervise: Callable[..., Run]) -> None:
    """A child that keeps dying before all were ready ends the start with status 1 and a line that names it."""
    run = supervise(
        {"name": "bad", "argv": [sys.executable, "-c", "raise SystemExit(3)"], "stage": 0, "ready": "/none"}
    )
    assert run.wait() == 1
    assert "bad ended with status 3, 5 times before it was ready; giving up" in run.output


def test_output_comes_in_whole_lines_with_the_name_before_them(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """Two children that print at once do not cut each other's lines, and a hushed line is not shown."""
    talk = "for n in range(200):\n print('x' * 300, flush=n % 3)\nprint('boring', flush=True)\nprint('end', end='')"
    argv = [sys.executable, "-c", talk]
    run = supervise(
        {"name": "one", "argv": argv, "stage": 0, "hush": "bor"},
        {"name": "two", "argv": argv, "stage": 0, "hush": "bor"},
    )
    until(lambda: "one     | end\n" in run.output and "two     | end\n" in run.output)
    said = [line for line in run.output.splitlines() if "| x" in line]
    assert {line.partition("|")[2] for line in said} == {" " + "x" * 300}
    assert "boring" not in run.output


def test_a_terminals_interrupt_reaches_the_supervisor_only(supervise: Callable[..., Run], tmp_path: Path) -> None:
    """A signal to the supervisor's process group does not reach the children: they are asked in their order."""
    run = supervise(polite("a", tmp_path / "a"))
    pid = pid_in(tmp_path / "a")
    assert os.getpgid(pid) == pid
    os.killpg(run.popen.pid, signal.SIGINT)
    assert run.wait() == 0
    assert "a       | stopped" in run.output


def test_restarts_wait_longer_each_time_until_the_child_is_healthy() -> None:
    """0.5, 1, 2, 4, 8, 10, 10 s; a child that lived for 30 s begins again at 0.5 s."""
    process = Process(Child("a", ["/bin/true"], stage=0))
    assert [process.failed(now=1.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert process.failed(now=HEALTHY_S) == 0.5


@pytest.mark.parametrize(
    ("parent", "command", "status"),
    [
        # The parent is there: the command's own status.
        (str(os.getpid()), "raise SystemExit(7)", 7),
        # It is not (ids this large do not exist): the command is killed.
        (str(1 << 23), "import time; time.sleep(600)", 128 + signal.SIGKILL),
    ],
    ids=["by itself", "with its parent"],
)
def test_a_watched_command_ends_by_itself_or_with_its_parent(parent: str, command: str, status: int) -> None:
    """Where the kernel cannot tie a command to its parent, a watcher passes its status on, or kills it."""
    watch = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from foreman.cli import tether; "
    watch += "sys.exit(tether.watch(int(sys.argv[1]), sys.argv[2:]))"
    argv = [sys.executable, "-c", watch, parent, sys.executable, "-c", command]
    assert subprocess.run(argv, check=False, timeout=DEADLINE_S).returncode == status


def test_an_endless_line_is_shown_in_parts() -> None:
    """A line without an end is held back up to a limit, so that memory is bounded."""
    lines = Lines()
    assert lines.feed(b"a" * (MAX_LINE_B - 1)) == []
    assert lines.feed(b"bc\r\nd") == ["a" * (MAX_LINE_B - 1) + "bc"]
    assert lines.feed(b"e" * MAX_LINE_B) == ["d" + "e" * MAX_LINE_B]
    assert lines.end() == []
