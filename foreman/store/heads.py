"""The fronts of the queue: the job of a priority, or of a priority and model, that has been ready longest.

Each front is one look into an index, so the cost does not grow with the number of jobs. Only those are looked at which
``domain/schedule.py`` can choose: the oldest, and the oldest of each model that an upstream has in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from foreman.domain.job import Moment, Priority
from foreman.domain.schedule import Candidate, Server, takers
from foreman.store.models import JobRow
from foreman.store.prepared import Statement

#: Models looked at per priority where upstreams are choosy about theirs. Beyond it the oldest job of all is still among
#: the candidates, so none is forgotten.
MODELS = 64

#: What a candidate is made of.
SHOWN = (JobRow.id, JobRow.priority, JobRow.model, JobRow.ready_at, JobRow.avoided)


def candidates(servers: Sequence[Server], now: Moment) -> list[Candidate]:
    """The fronts of the highest priority that a free one of ``servers``, which are all there are, can run.

    As the caller's transaction sees them now. None is locked, and none that another transaction holds is passed over:
    that one may only be recording a delivery.
    """
    if not any(server.free for server in servers):
        return []
    for priority in Priority:
        fronts = {front.job_id: front for front in _of(priority, servers, now) if front is not None}
        if any(takers(servers, front) for front in fronts.values()):
            return list(fronts.values())
    return []


def waiting_models() -> set[str]:
    """The models that jobs wait for, some of them if there are very many."""
    return {model for priority in Priority for model in _models(priority)}


def _of(priority: Priority, servers: Sequence[Server], now: Moment) -> Iterator[Candidate | None]:
    oldest = _candidate(_OLDEST.first(priority=int(priority), now=now))
    if oldest is None:
        return
    yield oldest
    free = [server for server in servers if server.free]
    for model in {model for server in free for model in _in_memory(server)} - {oldest.model}:
        yield _candidate(_OLDEST_OF_MODEL.first(priority=int(priority), now=now, model=model))
    if len(takers(servers, oldest)) < len(free):
        # Some of them cannot run the oldest job, and want to know the oldest that they can.
        for model in _models(priority):
            yield _candidate(_OLDEST_OF_MODEL.first(priority=int(priority), now=now, model=model))


def _in_memory(server: Server) -> Iterator[str]:
    """The models that a server has in its memory, by the names that jobs may have for them."""
    if server.model is not None:
        yield server.model
    for model in server.loaded:
        yield model
        yield model.removesuffix(":latest")


def _models(priority: Priority) -> Iterator[str]:
    """A loose scan of the index over (priority, model, ready_at): from each model straight to the next."""
    model = ""
    for _ in range(MODELS):
        model = _NEXT_MODEL.scalar(priority=int(priority), model=model)
        if model is None:
            return
        yield model


def _candidate(row: Any) -> Candidate | None:  # noqa: ANN401  (a prepared statement's row)
    return None if row is None else Candidate(row.id, Priority(row.priority), row.model, row.ready_at, row.avoided)


def _ready(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    in_time = JobRow.start_by.is_null() | (JobRow.start_by > given.now)
    ready = (JobRow.priority == given.priority) & (JobRow.ready_at <= given.now) & in_time
    return JobRow.select(*SHOWN).where(ready).order_by(JobRow.ready_at, JobRow.id).limit(1)


_OLDEST = Statement(_ready)

_OLDEST_OF_MODEL = Statement(lambda given: _ready(given).where(JobRow.model == given.model))

_NEXT_MODEL = Statement(
    lambda given: (
        JobRow.select(JobRow.model)
        .where(
            (JobRow.priority == given.priority) & JobRow.ready_at.is_null(is_null=False) & (JobRow.model > given.model)
        )
        .order_by(JobRow.model)
        .limit(1)
    )
)
