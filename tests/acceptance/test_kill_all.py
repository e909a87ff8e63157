"""``foreman up``, all of it killed at once in the middle of its work, and given again on the same data directory."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.acceptance.foreman_up import Up, processes, until
from tests.chaos.judge import Evidence, judge
from tests.chaos.ledger import Ledger
from tests.chaos.moods import Witness, moody
from tests.receiver import Receiver
from tests.upstream import FakeOllama, reply
from tests.upstream_faults import held

#: Jobs submitted before the kill, and how many of them are done by then; of the others some are under way.
JOBS, EARLY = 16, 4

SETTINGS = {
    "FOREMAN_UPSTREAM_SLOTS": "4",
    "FOREMAN_JOBS_LEASE_S": "2",
    "FOREMAN_WEBHOOK_ALLOW_HTTP": "true",
    "FOREMAN_WEBHOOK_ALLOWED_NETS": "127.0.0.0/8",
    "FOREMAN_WEBHOOK_TIMEOUT_S": "1",
    "FOREMAN_SWEEP_INTERVAL_S": "0.5",
    "FOREMAN_WEBHOOK_RETRY_DELAYS_S": ",".join(["0.2"] * 50),
    "FOREMAN_WEBHOOK_NONTERMINAL_RETRIES": "50",
}


def kill_everything(up: Up) -> None:
    """SIGKILL of ``foreman up`` and of each process that it started, and wait until they are gone."""
    for pid in processes(up.mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    up.popen.wait()
    until(lambda: processes(up.mark) == {})


def test_everything_killed_at_once_goes_on_where_it_was(tmp_path: Path) -> None:
    """Every acknowledged job ends and every event arrives, once but for those under way, in order."""
    witness = Witness(moody(1))
    with FakeOllama() as upstream, Receiver(witness) as receiver:
        gate = threading.Event()
        upstream.next(*[reply("early")] * EARLY)
        upstream.default = held(gate)
        settings = SETTINGS | {"FOREMAN_UPSTREAM_URL": upstream.url}
        with Up(tmp_path / "state", None, **settings).until_ready() as up:
            body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
            body["state_webhook_url"] = receiver.url
            acknowledged = [up.call("POST", "/jobs", body)[1]["job_id"] for _ in range(JOBS)]
            ledger = Ledger(up.database_url)
            until(lambda: ledger.open()[0] == JOBS - EARLY)
            until(lambda: len(upstream.chats) > EARLY)
            kill_everything(up)
            upstream.default = reply("late")
            up.start()
            up.until_ready()
            until(lambda: ledger.open() == (0, 0))
            verdict = judge(
                Evidence(acknowledged, ledger.jobs(), ledger.events(), ledger.tries(), witness.arrivals, slots=4)
            )
            gate.set()
    assert verdict.kept, verdict
    assert (verdict.jobs, verdict.events) == (JOBS, 4 * JOBS)
