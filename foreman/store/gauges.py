"""How much there is of everything, counted in the database; what may be long is counted from an index alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from foreman.domain.job import Moment, Priority
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.metric import OTHER
from foreman.store.counters import MODELS
from foreman.store.database import read
from foreman.store.models import ArtifactRow, CounterRow, JobRow
from foreman.store.prepared import Statement

_BEGUN = (State.LOADING, State.WORKING)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a live job is."""

    state: State
    model: str
    priority: Priority


@dataclass(frozen=True, slots=True)
class Amounts:
    """What was counted at one moment."""

    #: Live jobs; models without counters of their own are ``other``.
    queue: Counter[Place]
    #: Jobs by state, those that have ended too.
    jobs: dict[State, int]
    #: Milliseconds for which the job has waited that has been ready longest; priorities without one are left out.
    oldest_ms: dict[Priority, int]
    unstored: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """Counts what is so now. The cost grows with what there is: do not ask all the time."""

    models: int = MODELS

    def amounts(self, now: Moment) -> Amounts:
        """Everything at once, as of one moment.

        Raises:
            StoreUnavailable: it cannot be counted.
        """
        with read():
            queue = self._folded(_live())
            ended = {State(row.state): int(row.count) for row in _ENDED.rows()}
            oldest = {each: _OLDEST.scalar(priority=int(each), now=now) for each in Priority}
            unstored = int(_UNSTORED.scalar())
        live = Counter(dict.fromkeys(State, 0))
        for place, count in queue.items():
            live[place.state] += count
        return Amounts(
            queue=queue,
            jobs={state: ended.get(state, 0) if state in TERMINAL else live[state] for state in State},
            oldest_ms={each: now - at for each, at in oldest.items() if at is not None},
            unstored=unstored,
        )

    def _folded(self, queue: Counter[tuple[str, str, int]]) -> Counter[Place]:
        known = {str(row.model) for row in _COUNTED_MODELS.rows()}
        folded: Counter[Place] = Counter()
        for (state, model, priority), count in queue.items():
            shown = model if model in known else OTHER
            folded[Place(State(state), shown, Priority(priority))] += count
        return folded


def _live() -> Counter[tuple[str, str, int]]:
    """Live jobs by state, model and priority.

    No index has all three. Most live jobs are queued and ready, so these are counted together with those that are ready
    and have begun, from the index over what is ready, and the few that have begun, or are claimed, are looked at.
    """
    found: Counter[tuple[str, str, int]] = Counter()
    for row in _READY.rows():
        found[State.QUEUED, row.model, row.priority] += row.count
    for row in _CLAIMED.rows():
        found[State.QUEUED, row.model, row.priority] += row.state == State.QUEUED
    for row in _BEGUN_JOBS.rows():
        found[row.state, row.model, row.priority] += row.count
        found[State.QUEUED, row.model, row.priority] -= row.ready
    return +found


def _literals(states: Iterator[State]) -> SQL:
    """As literals, so that an engine knows how few there are."""
    return SQL(f"state IN ({', '.join(sorted(repr(str(each)) for each in states))})")


_COUNT = fn.COUNT(JobRow.id).alias("count")

_READY = Statement(
    lambda _: (
        JobRow.select(JobRow.priority, JobRow.model, _COUNT)
        .where(JobRow.ready_at.is_null(is_null=False))
        .group_by(JobRow.priority, JobRow.model)
    )
)

# Counted here and not by the engine: to group them SQLite would go through all jobs in the order of another index.
_CLAIMED = Statement(
    lambda _: JobRow.select(JobRow.state, JobRow.priority, JobRow.model).where(
        JobRow.lease_until.is_null(is_null=False)
    )
)

_BEGUN_JOBS = Statement(
    lambda _: (
        JobRow.select(JobRow.state, JobRow.priority, JobRow.model, _COUNT, fn.COUNT(JobRow.ready_at).alias("ready"))
        .where(_literals(iter(_BEGUN)))
        .group_by(JobRow.state, JobRow.priority, JobRow.model)
    )
)

_ENDED = Statement(
    lambda _: JobRow.select(JobRow.state, _COUNT).where(_literals(iter(TERMINAL))).group_by(JobRow.state)
)


def _oldest(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    ready = (JobRow.priority == given.priority) & (JobRow.ready_at <= given.now)
    return JobRow.select(JobRow.ready_at).where(ready).order_by(JobRow.ready_at, JobRow.id).limit(1)


_OLDEST = Statement(_oldest)

_UNSTORED = Statement(
    lambda _: ArtifactRow.select(fn.COUNT(ArtifactRow.created_at)).where(ArtifactRow.stored_at.is_null())
)

_COUNTED_MODELS = Statement(
    lambda _: CounterRow.select(CounterRow.model).where(CounterRow.model.is_null(is_null=False)).distinct()
)
