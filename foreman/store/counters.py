"""What all processes counted, added up: it outlives each of them, and any of them can tell it.

The label ``model`` is bounded here. A model gets series of its own when it is first counted, while there is room; after
that it takes the place of one that has not been counted for a while, whose series end. All others are ``other``. So no
counter ever goes down.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from peewee import EXCLUDED, fn

from foreman.domain.job import Moment
from foreman.domain.metric import COUNTED, OTHER
from foreman.store.database import is_postgres, proxy, read, write
from foreman.store.models import CounterRow
from foreman.store.prepared import Statement
from foreman.tally import Series

#: Models with series of their own: each has some forty.
MODELS = 32
#: Milliseconds after which a model that is no longer used gives its series to another: so few new ones can come up in a
#: week that a monitoring system does not mind, whatever names clients make up.
IDLE_MS = 7 * 86_400_000
#: Characters of a name that may be a label; longer ones are ``other``.
NAME_LIMIT = 128

_BY_NAME = {metric.name: metric for metric in COUNTED}


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters table."""

    models: int = MODELS

    def add(self, counted: Mapping[Series, float], now: Moment) -> None:
        """Add what one process counted.

        Raises:
            StoreUnavailable: nothing was added, unless the server died just between its commit and its answer.
        """
        # With the power goes as much as with a process that is killed: what was counted in the last seconds.
        with write(durable=False):
            if is_postgres():
                # One at a time: a model that is admitted takes another's rows, which may just be added to.
                proxy.obj.execute_sql("SELECT pg_advisory_xact_lock(hashtext('counters'))")
            admitted = self._admit({name for each in counted if (name := _model(each)) is not None}, now)
            folded: Counter[Series] = Counter()
            for series, value in counted.items():
                folded[_folded(series, admitted)] += value  # type: ignore[assignment]  # typeshed's counters hold ints
            for series in folded:
                _ADD.execute(
                    name=series.metric.name,
                    labels=json.dumps(series.labels),
                    part=series.part,
                    model=_model(series),
                    value=folded[series],
                    now=now,
                )

    def all(self) -> dict[Series, float]:
        """Every number there is; one of a metric that is no more, from an older release, is passed over."""
        with read():
            rows = _ALL.rows()
        return {
            Series(_BY_NAME[row.name], tuple(json.loads(row.labels)), row.part): row.value
            for row in rows
            if row.name in _BY_NAME
        }

    def _admit(self, wanted: set[str], now: Moment) -> set[str]:
        """Those of the ``wanted`` models that have series of their own."""
        if not wanted:
            return set()
        changed = {row.model: row.changed_at for row in _MODELS.rows()}
        idle = sorted((at, model) for model, at in changed.items() if at < now - IDLE_MS and model not in wanted)
        for model in sorted(wanted - changed.keys()):
            if len(model) > NAME_LIMIT:
                continue
            if len(changed) >= self.models:
                if not idle:
                    break
                gone = idle.pop(0)[1]
                del changed[gone]
                CounterRow.delete().where(CounterRow.model == gone).execute()
            changed[model] = now
        return wanted & changed.keys()


def _model(series: Series) -> str | None:
    metric = series.metric
    return series.labels[metric.labels.index("model")] if "model" in metric.labels else None


def _folded(series: Series, admitted: set[str]) -> Series:
    model = _model(series)
    if model is None or model in admitted:
        return series
    names = series.metric.labels
    labels = tuple(OTHER if name == "model" else value for name, value in zip(names, series.labels, strict=True))
    return replace(series, labels=labels)


_ALL = Statement(lambda _: CounterRow.select(CounterRow.name, CounterRow.labels, CounterRow.part, CounterRow.value))

_MODELS = Statement(
    lambda _: (
        CounterRow.select(CounterRow.model, fn.MAX(CounterRow.changed_at).alias("changed_at"))
        .where(CounterRow.model.is_null(is_null=False) & (CounterRow.model != OTHER))
        .group_by(CounterRow.model)
    )
)


def _added(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
    first = CounterRow.insert(
        name=given.name,
        labels=given.labels,
        part=given.part,
        model=given.model,
        value=given.value,
        changed_at=given.now,
    )
    return first.on_conflict(
        conflict_target=[CounterRow.name, CounterRow.labels, CounterRow.part],
        update={CounterRow.value: CounterRow.value + EXCLUDED.value, CounterRow.changed_at: EXCLUDED.changed_at},
    )


_ADD = Statement(_added)
