from __future__ import annotations

import subprocess
import sys

import pytest

from tests.acceptance.stack import ROOT


@pytest.mark.timeout(280)
@pytest.mark.parametrize("seed", [1])
def test_no_request_is_answered_badly(seed: int) -> None:
    """The short form of ``make fuzz``: any request gets an honest answer, and no process is the worse for it."""
    argv = [sys.executable, "-m", "tests.fuzz", "--requests", "4000", "--processes", "1", "--seed", str(seed)]
    argv += ["--described", "0"]  # what schemathesis asks in short is in test_description.py
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=270, check=False)
    assert done.returncode == 0, done.stdout
    for reached in ("POST /jobs", "GET /jobs", "DELETE /jobs", "POST /api", "POST /v1", "GET /metrics"):
        assert reached in done.stdout
