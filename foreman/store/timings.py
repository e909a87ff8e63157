"""What loads and runs took, for each upstream and model: a mean that forgets slowly, kept with one statement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peewee import EXCLUDED, Case, Field, fn

from foreman.domain.estimate import Times
from foreman.domain.job import Spent
from foreman.store.models import TimingRow
from foreman.store.prepared import Statement

#: The weight of a new measurement, once there are as many as make a plain mean of the same weight. A fifth: ten runs
#: later a change of hardware or of prompts is nine tenths of the mean, and one odd run moves it by no more than that.
WEIGHT = 0.2


def record(upstream: str, model: str, spent: Spent) -> None:
    """Take in what one whole run took, within the caller's transaction."""
    statement = _RUN if spent.load_ms is None else _LOAD_AND_RUN
    statement.execute(upstream=upstream, model=model, load_ms=spent.load_ms, run_ms=spent.run_ms)


def known(upstreams: Iterable[str], models: Iterable[str]) -> dict[tuple[str, str], Times]:
    """What was measured, by upstream and model."""
    wanted = TimingRow.upstream.in_(list(upstreams)) & TimingRow.model.in_(list(models))
    return {(row.upstream, row.model): Times(row.load_ms, row.run_ms) for row in TimingRow.select().where(wanted)}


def _moved(mean: Field, count: Field) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    """``mean`` once the measurement that could not be inserted is in it; the first few weigh the same."""
    new = getattr(EXCLUDED, mean.name)
    weight = Case(None, [(count < round(1 / WEIGHT), 1.0 / (count + 1))], WEIGHT)
    old = fn.COALESCE(mean, new)
    return old + (new - old) * weight


def _record(given: Any, *, loaded: bool) -> Any:  # noqa: ANN401  (as above)
    changes = {TimingRow.run_ms: _moved(TimingRow.run_ms, TimingRow.runs), TimingRow.runs: TimingRow.runs + 1}
    if loaded:
        changes[TimingRow.load_ms] = _moved(TimingRow.load_ms, TimingRow.loads)
        changes[TimingRow.loads] = TimingRow.loads + 1
    first = TimingRow.insert(
        upstream=given.upstream,
        model=given.model,
        load_ms=given.load_ms,
        loads=int(loaded),
        run_ms=given.run_ms,
        runs=1,
    )
    return first.on_conflict(conflict_target=[TimingRow.upstream, TimingRow.model], update=changes)


_RUN = Statement(lambda given: _record(given, loaded=False))

_LOAD_AND_RUN = Statement(lambda given: _record(given, loaded=True))
