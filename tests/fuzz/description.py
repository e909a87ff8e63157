"""Holds a running foreman to its own description: schemathesis asks what that allows, and what it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.stack import ROOT, Stack

#: Keys are asked for, so that doing without one is tried as well; and no chat that sets itself a deadline of nothing
#: waits long to be told that it is over.
ENV = {
    "FOREMAN_WEB_AUTH": "on",
    "FOREMAN_SWEEP_INTERVAL_S": "0.05",
    "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "0.1",
    "FOREMAN_WEBHOOK_TIMEOUT_S": "0.5",
    "FOREMAN_UPSTREAM_SLOTS": "8",
}
#: The options for what is made up anew with every seed, and requests that all of it amounts to for each example asked
#: for (measured: 309 for four). What the edges of all parameters and bodies come to besides (measured: 5,600).
MADE_UP, PER_EXAMPLE, EDGES = ("--phases", "examples,fuzzing,stateful"), 80, 6000

CONFIG = ROOT / "tests/fuzz/schemathesis.toml"


@dataclass(frozen=True, slots=True)
class Examined:
    """What one run came to: requests that were made, operations that they went to, and what was found."""

    sent: int
    tested: int
    total: int
    findings: tuple[str, ...]


def admin_key(stack: Stack) -> str:
    """A key that may do everything."""
    made = subprocess.run(
        [Path(sys.executable).with_name("foreman"), "keys", "create", "schemathesis", "--admin", "--json"],
        env=stack.environ(),
        cwd=stack.directory,
        capture_output=True,
        check=True,
        text=True,
    )
    return str(json.loads(made.stdout)["key"])


def examine(stack: Stack, key: str, *, seed: int, examples: int, options: Sequence[str] = ()) -> Examined:
    """Let schemathesis ask ``stack``, up to ``examples`` made-up requests for each operation, the same for one seed."""
    report = stack.directory / "schemathesis.json"
    report.unlink(missing_ok=True)
    argv = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)),
        *("run", f"{stack.url}/openapi.json"),
        *("--seed", str(seed), "--max-examples", str(examples), "--generation-database", "none"),
        *("--no-shrink", "--continue-on-failure", "--request-timeout", "60", "--no-color"),
        *("--report", "json", "--report-json-path", str(report), *options),
    ]
    env = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "FUZZ_RECEIVER": stack.receiver.url,
        "FUZZ_KEY": key,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(argv, env=env, cwd=stack.directory, capture_output=True, check=False, text=True)
    if not report.exists():
        return Examined(0, 0, 0, (f"schemathesis ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr}",))
    told = json.loads(report.read_text())
    return Examined(
        sent=told["test_cases"]["generated"],
        tested=told["operations"]["tested"],
        total=told["operations"]["selected"],
        # Its own words, which have the request and the answer.
        findings=(done.stdout,) if told["failures"] or told["errors"] or done.returncode else (),
    )
