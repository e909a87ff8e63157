from __future__ import annotations

import pytest

from foreman.domain.attempts import Again, after_fault
from foreman.domain.fault import Fault, answered, exec_timeout, not_connected, stalled
from foreman.domain.job import JobFailure

REFUSED = not_connected("refused the connection")
BUSY = answered(503, "")
BROKEN = answered(500, "")
REJECTED = answered(400, "")
STALLED = stalled(300)


@pytest.mark.parametrize(
    ("fault", "runs", "max_attempts", "follows"),
    [
        # A run that counted, with attempts left and without.
        (BROKEN, 1, None, "again"),
        (BROKEN, 2, None, "again"),
        (BROKEN, 3, None, "end"),
        (STALLED, 3, None, "end"),
        # What the submitter named stands above the setting, either way.
        (BROKEN, 1, 1, "end"),
        (BROKEN, 3, 4, "again"),
        (BROKEN, 4, 4, "end"),
        # The upstream never began: no outage fails a job, however long it is …
        (REFUSED, 1, None, "again, not counted"),
        (BUSY, 1000, None, "again, not counted"),
        # … unless the submitter named max_attempts: then it means what it says.
        (REFUSED, 1, 2, "again"),
        (REFUSED, 2, 2, "end"),
        (BUSY, 1, 1, "end"),
        # Another attempt would fail as well.
        (REJECTED, 1, None, "end"),
        (REJECTED, 1, 1000, "end"),
        (exec_timeout(60), 1, None, "end"),
    ],
)
def test_what_follows_a_fault(fault: Fault, runs: int, max_attempts: int | None, follows: str) -> None:
    """The setting allows 3 runs."""
    step = after_fault(fault, runs=runs, max_attempts=max_attempts, default_max_attempts=3)
    expected = {
        "again": Again(counted=True),
        "again, not counted": Again(counted=False),
    }.get(follows, fault.failure())
    assert step == expected


def test_the_end_says_what_the_last_fault_was() -> None:
    """Cause, message and the upstream's status come from the run that was the last."""
    step = after_fault(BROKEN, runs=3, max_attempts=None, default_max_attempts=3)
    assert step == JobFailure(BROKEN.cause, BROKEN.message, 500)
