"""What follows a run that did not complete: another one, now or later, or the end of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman.domain.job import JobFailure

if TYPE_CHECKING:
    from foreman.domain.fault import Fault


@dataclass(frozen=True, slots=True)
class Again:
    """Run the job again; ``counted`` says whether the run that failed used up an attempt."""

    counted: bool


def after_fault(fault: Fault, *, runs: int, max_attempts: int | None, default_max_attempts: int) -> Again | JobFailure:
    """Decide what follows ``fault`` in the ``runs``-th run of a job, from 1, lost workers not included.

    A run that the upstream never began is not counted, so that no outage fails a job; unless the submitter named
    ``max_attempts``: then it means what it says.
    """
    if not fault.retry:
        return fault.failure()
    if max_attempts is None and not fault.began:
        return Again(counted=False)
    if runs >= (default_max_attempts if max_attempts is None else max_attempts):
        return fault.failure()
    return Again(counted=True)
