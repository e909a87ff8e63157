"""How many jobs there are of each kind, counted so far and no further: a look costs the same over any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from foreman.domain.job import Priority
from foreman.domain.lifecycle import State
from foreman.store import quota
from foreman.store.database import read
from foreman.store.models import JobRow

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
        states = {}
        for state in State:
            some = JobRow.select(JobRow.id).where(JobRow.state == state).limit(self.counted).alias("some")
            states[state] = int(JobRow.select(fn.COUNT(SQL("1"))).from_(some).scalar())
        waiting: dict[tuple[str, int], int] = {}
        for priority in Priority:
            ready = (JobRow.priority == priority) & JobRow.ready_at.is_null(is_null=False)
            some = JobRow.select(JobRow.model).where(ready).order_by(JobRow.model).limit(self.counted).alias("some")
            rows: Any = JobRow.select(some.c.model, fn.COUNT(SQL("1"))).from_(some).group_by(some.c.model)
            waiting |= {(model, int(priority)): int(count) for model, count in rows.tuples()}
        return Counts(states, _table(waiting), self.counted)

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
