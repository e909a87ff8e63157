"""The fronts of the queue: the job of a priority, or of a priority and model, that has been ready longest.

Each front is one look into an index, so the cost does not grow with the number of jobs. Only those are looked at which
``domain/schedule.py`` can choose: the oldest, and the oldest of each model that an upstream has in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from foreman.domain.job import Moment, Priority
from foreman.domain.schedule import Candidate, Server
from foreman.store.models import JobRow

#: Models looked at per priority where upstreams are choosy about theirs. Beyond it the oldest job of all is still among
#: the candidates, so none is forgotten.
MODELS = 64


def candidates(servers: Sequence[Server], now: Moment) -> list[Candidate]:
    """The fronts of the highest priority that any of ``servers`` can run, as the caller's transaction sees it now.

    None is locked, and none that another transaction holds is passed over: that one may only be recording a delivery.
    """
    for priority in Priority:
        fronts = {front.job_id: front for front in _of(priority, servers, now) if front is not None}
        if any(server.can_run(front.model) for front in fronts.values() for server in servers):
            return list(fronts.values())
    return []


def _of(priority: Priority, servers: Sequence[Server], now: Moment) -> Iterator[Candidate | None]:
    oldest = _first(_ready(priority, now))
    if oldest is None:
        return
    yield oldest
    for model in {server.model for server in servers if server.model is not None} - {oldest.model}:
        yield _first(_ready(priority, now).where(JobRow.model == model))
    if any(server.models for server in servers):
        yield from _of_each_model(priority, now)


def _of_each_model(priority: Priority, now: Moment) -> Iterator[Candidate | None]:
    """A loose scan of the index over (priority, model, ready_at): from each model straight to the next."""
    waiting = (JobRow.priority == priority) & JobRow.ready_at.is_null(is_null=False)
    model = ""
    for _ in range(MODELS):
        following = JobRow.select(JobRow.model).where(waiting & (JobRow.model > model)).order_by(JobRow.model)
        model = following.limit(1).scalar()
        if model is None:
            return
        yield _first(_ready(priority, now).where(JobRow.model == model))


def _ready(priority: Priority, now: Moment) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    in_time = JobRow.start_by.is_null() | (JobRow.start_by > now)
    shown = JobRow.select(JobRow.id, JobRow.priority, JobRow.model, JobRow.ready_at).order_by(JobRow.ready_at)
    return shown.where((JobRow.priority == priority) & (JobRow.ready_at <= now) & in_time)


def _first(query: Any) -> Candidate | None:  # noqa: ANN401  (as above)
    row: Any = query.order_by(JobRow.ready_at, JobRow.id).first()
    return None if row is None else Candidate(row.id, Priority(row.priority), row.model, row.ready_at)
