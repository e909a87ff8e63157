"""Which job runs next: a pure choice over what the store offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreman.domain.job import Moment, Priority


@dataclass(frozen=True, slots=True)
class Candidate:
    """The first job of its priority that is ready."""

    job_id: str
    priority: Priority
    ready_at: Moment


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """The best of ``candidates``: the highest priority, then the one ready longest; None if there are none."""
    return min(candidates, key=lambda each: (each.priority, each.ready_at, each.job_id), default=None)
