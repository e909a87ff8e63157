"""How many jobs there are of each kind, counted so far and no further: a look costs the same over any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from peewee import SQL, fn

from foreman.domain.job import Priority
from foreman.domain.lifecycle import State
from foreman.store import quota
from foreman.store.database import read
from foreman.store.models import JobRow
from foreman.store.prepared import Statement

#: Jobs of one kind that are counted at most: entries of an index, of which SQLite reads so many in half a millisecond.
COUNTED = 10_000

#: The newest jobs of a key that are counted: each is a row, and there is no index over what is counted of them.
OWN = 1_000


@dataclass(frozen=True, slots=True)
class Counts:
    """``states``: jobs in each; ``waiting``: those that wait for a slot, by model and priority, sorted by model.

    A number that is ``at_most`` stands for that or more; of each priority so many are counted in all.
    """

    states: Mapping[State, int]
    waiting: Mapping[str, Mapping[Priority, int]]
    at_most: int
    #: Whether only the newest ``at_most`` of a key's jobs are counted, and there are more.
    newest_only: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """The jobs table, seen from far."""

    counted: int = COUNTED
    own: int = OWN

    def counts(self, owner: str | None) -> Counts:
        """Those of ``owner``; ``None``: everybody's.

        Raises:
            StoreUnavailable: they cannot be counted now.
        """
        with read():
            return self._of_all() if owner is None else self._of(owner)

    def _of_all(self) -> Counts:
        in_state, ready = _in_state(self.counted), _ready(self.counted)
        waiting = {
            (row.model, int(priority)): int(row.count)
            for priority in Priority
            for row in ready.rows(priority=int(priority))
        }
        return Counts({state: int(in_state.scalar(state=state)) for state in State}, _table(waiting), self.counted)

    def _of(self, owner: str) -> Counts:
        shown = (JobRow.state, JobRow.model, JobRow.priority)
        query: Any = JobRow.select(*shown).where(quota.owned(owner)).order_by(JobRow.id.desc()).limit(self.own + 1)
        rows = list(query.tuples())
        newest = rows[: self.own]
        states = Counter(State(state) for state, _, _ in newest)
        waiting = Counter((model, priority) for state, model, priority in newest if state == State.QUEUED)
        return Counts({state: states[state] for state in State}, _table(waiting), self.own, len(rows) > len(newest))


def _table(found: Mapping[tuple[str, int], int]) -> dict[str, dict[Priority, int]]:
    models = sorted({model for model, _ in found})
    return {model: {priority: found.get((model, int(priority)), 0) for priority in Priority} for model in models}


@cache
def _in_state(counted: int) -> Statement:
    def written(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
        some = JobRow.select(JobRow.id).where(JobRow.state == given.state).limit(counted).alias("some")
        return JobRow.select(fn.COUNT(SQL("1"))).from_(some)

    return Statement(written)


@cache
def _ready(counted: int) -> Statement:
    def written(given: Any) -> Any:  # noqa: ANN401  (as above)
        ready = (JobRow.priority == given.priority) & JobRow.ready_at.is_null(is_null=False)
        some = JobRow.select(JobRow.model).where(ready).order_by(JobRow.model).limit(counted).alias("some")
        return JobRow.select(some.c.model, fn.COUNT(SQL("1")).alias("count")).from_(some).group_by(some.c.model)

    return Statement(written)
