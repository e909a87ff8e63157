"""What stands between a job and its end, as the database knows it: who waits, what runs, and what it took before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from foreman.domain import estimate
from foreman.domain.estimate import Run, Times
from foreman.domain.job import Job, Moment, Priority
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.line import Group, Prospect, Waiting, prospect
from foreman.domain.schedule import Policy, homes
from foreman.domain.upstream import Slots, Standing, servers
from foreman.store import timings
from foreman.store.database import read
from foreman.store.models import JobRow
from foreman.store.prepared import Statement
from foreman.store.upstreams import Upstreams

#: Jobs that are counted at most; in a longer line a place is null. Counting so many takes 3 ms.
COUNTED = 20_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """``position`` in line from 1, and ``eta_s`` until the job is done; ``None`` where neither is known or left."""

    position: int | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """The jobs that wait, as seen from each of them."""

    upstreams: tuple[Slots, ...]
    policy: Policy
    counted: int = COUNTED

    def position(self, job: Job, now: Moment) -> int | None:
        """The place of a queued job in the order in which jobs will be claimed as far as is known now, from 1.

        ``None`` for a job that is not queued, in a line of more than ``counted``, and where no upstream may be asked
        for its model.
        """
        if job.state is not State.QUEUED:
            return None
        with read():
            row = _ROW.first(job_id=job.id)
            # Whoever claimed it meanwhile connects for it: nobody is ahead.
            if row is None or row.ready_at is None:
                return 1
            return _position(self._prospect(row, row.ready_at, self._standings(), now))

    def outlook(self, job: Job, now: Moment) -> Outlook:
        """As ``position``, and when the job will be done."""
        if job.state in TERMINAL:
            return Outlook(None, None)
        queued = job.state is State.QUEUED
        with read():
            row = _ROW.first(job_id=job.id)
            if row is None or row.state in TERMINAL:
                return Outlook(None, None)
            if row.ready_at is None:
                return Outlook(1 if queued else None, estimate.shown_s(_running_ms(row, now)))
            standings = self._standings()
            found = self._prospect(row, row.ready_at, standings, now)
            ready_in_ms = max(0, row.ready_at - now)
            eta_ms = None if found is None else _waiting_ms(row.model, found, ready_in_ms, standings, now)
            return Outlook(_position(found) if queued else None, estimate.shown_s(eta_ms))

    def _standings(self) -> list[Standing]:
        return Upstreams(self.upstreams).standings()

    def _prospect(
        self,
        row: Any,  # noqa: ANN401  (a row of a prepared statement, as below)
        ready_at: Moment,
        standings: Sequence[Standing],
        now: Moment,
    ) -> Prospect | None:
        """What a job waits for."""
        if _COUNT.scalar(priority=row.priority, limit=self.counted + 1) > self.counted:
            return None
        own = Waiting(Priority(row.priority), row.model, ready_at)
        return prospect(own, list(_groups(row)), servers(standings, now), self.policy, now)


def _waiting_ms(
    model: str, found: Prospect, ready_in_ms: int, standings: Sequence[Standing], now: Moment
) -> float | None:
    """How long until a job is done that waits for what was ``found``. Upstreams that are not well do not count."""
    able = {server.name for server in homes(servers(standings, now), model) if not server.down}
    well = [each for each in standings if each.name in able and each.held_until <= now]
    names = {each.name for each in well}
    running = [each for each in _running() if each.upstream in names]
    models = {share.model for order in (found.order, found.by_age) for share in (order.own, *order.others)}
    times = timings.known(names, models | {each.model for each in running})
    free = [left for each in running if (left := _left_ms(each, times, now)) is not None]
    for each in well:
        free += [0.0] * (each.slots.count - each.used)
    usual = {each: estimate.mean([time for (_, other), time in times.items() if other == each]) for each in models}
    return estimate.until_done_ms(found, free, usual, ready_in_ms=ready_in_ms)


def _groups(row: Any) -> Iterator[Group]:  # noqa: ANN401  (as above)
    """What waits at the job's priority and above it, less the job itself; all of it is read from one index."""
    for each in _GROUPS.rows(priority=row.priority, ready_at=row.ready_at, job_id=row.id):
        own = (each.priority, each.model) == (row.priority, row.model)
        if each.jobs - own:
            yield Group(Priority(each.priority), each.model, each.jobs - own, each.older, each.oldest)


def _running() -> Sequence[Any]:
    return _RUNNING.rows()


def _running_ms(row: Any, now: Moment) -> float | None:  # noqa: ANN401  (as above)
    """How long a job still takes that does not wait; 0 when only its storing is left."""
    if row.lease_until is None:
        return 0.0
    return _left_ms(row, timings.known([row.upstream or ""], [row.model]), now)


def _left_ms(row: Any, times: Mapping[tuple[str, str], Times], now: Moment) -> float | None:  # noqa: ANN401  (as above)
    """How much longer the run of a job takes. A later run shows no ``working`` of its own: it may be loading still."""
    began = row.claimed_at
    known = times.get((row.upstream or "", row.model))
    if known is None or began is None:
        return None
    works = row.working_at is not None and row.working_at >= began
    since = began if row.working_at is None else max(began, row.working_at)
    return estimate.left_ms(Run(since, loads=not works), known, now)


def _position(found: Prospect | None) -> int | None:
    return None if found is None else found.order.position


def _ahead(given: Any) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    return JobRow.ready_at.is_null(is_null=False) & (JobRow.priority <= given.priority)


_ROW = Statement(
    lambda given: JobRow.select(
        JobRow.id,
        JobRow.state,
        JobRow.priority,
        JobRow.model,
        JobRow.upstream,
        JobRow.ready_at,
        JobRow.lease_until,
        JobRow.claimed_at,
        JobRow.working_at,
    ).where(JobRow.id == given.job_id)
)

_COUNT = Statement(
    lambda given: JobRow.select(fn.COUNT(SQL("1"))).from_(
        JobRow.select(JobRow.id).where(_ahead(given)).limit(given.limit).alias("_wrapped")
    )
)


def _by_group(given: Any) -> Any:  # noqa: ANN401  (as above)
    older = (JobRow.ready_at < given.ready_at) | ((JobRow.ready_at == given.ready_at) & (JobRow.id < given.job_id))
    return (
        JobRow.select(
            JobRow.priority,
            JobRow.model,
            fn.COUNT(JobRow.id).alias("jobs"),
            fn.COUNT(fn.NULLIF(older, False)).alias("older"),  # noqa: FBT003  (SQL's)
            fn.MIN(JobRow.ready_at).alias("oldest"),
        )
        .where(_ahead(given))
        .group_by(JobRow.priority, JobRow.model)
    )


_GROUPS = Statement(_by_group)

_RUNNING = Statement(
    lambda _: JobRow.select(JobRow.state, JobRow.model, JobRow.upstream, JobRow.claimed_at, JobRow.working_at).where(
        JobRow.lease_until.is_null(is_null=False)
    )
)
