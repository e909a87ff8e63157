from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.acceptance.foreman_up import COMMAND, DEADLINE_S, environment, processes, until


def start(tmp_path: Path) -> subprocess.Popen[str]:
    """``foreman demo`` with a home and a temporary directory of its own."""
    environ = environment(str(tmp_path), {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_STATE_HOME": ""})
    # A suite that runs in the background is deaf to Ctrl-C, and its children would be.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [*COMMAND, "demo"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )
    finally:
        signal.signal(signal.SIGINT, heard)


def test_the_demo_shows_every_webhook_and_the_recovery_without_one(tmp_path: Path) -> None:
    """It ends with status 0, says what a newcomer is to see in order, and leaves neither process nor file."""
    with start(tmp_path) as demo:
        said, _ = demo.communicate(timeout=2 * DEADLINE_S)
    assert demo.returncode == 0, said
    shown = re.findall(r"#(\d) job\.(\w+) +both signatures verified, accepted", said)
    assert shown == [("1", "queued"), ("2", "loading"), ("3", "working"), ("4", "done")]
    assert "#1 job.queued   both signatures verified, refused with 503" in said
    assert "state: queued -> loading -> working -> done" in said
    # How often it was tried by the time that the job is done is the machine's business.
    assert re.search(r"webhook queued: (pending|dead), tries so far [1-9]", said)
    assert re.search(r"webhook done: pending, tries so far \d", said)
    assert said.count("smollm2:135m says: ") == 2
    assert "the exit status was 0" in said
    called = said.rpartition("For real use: ")[2].removesuffix(" up\n")
    assert shutil.which(called) or (tmp_path / called).exists(), called
    until(lambda: processes(str(tmp_path)) == {})
    assert list(tmp_path.glob("foreman-*")) == []


def test_a_demo_that_is_interrupted_takes_everything_with_it(tmp_path: Path) -> None:
    """Ctrl-C at any moment ends it with the status that shells have for that, and without a process left behind."""
    with start(tmp_path) as demo:
        until(lambda: any("process jobs" in line for line in processes(str(tmp_path)).values()))
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=DEADLINE_S)
    assert demo.returncode == 130
    assert "Traceback" not in said
    until(lambda: processes(str(tmp_path)) == {})
