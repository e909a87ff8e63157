from __future__ import annotations

from itertools import pairwise

import pytest

from foreman.domain import metric
from foreman.domain.metric import METRICS, Kind
from foreman.store.models import CounterRow
from foreman.tally import REST, SUM, Series, Tally


@pytest.mark.parametrize(
    ("value", "part"),
    [(-5.0, "0.01"), (0.0, "0.01"), (0.01, "0.01"), (0.0101, "0.05"), (43_200.0, "43200"), (1e9, REST)],
)
def test_what_is_measured_is_counted_below_its_bound(value: float, part: str) -> None:
    """A value that is a bound is below it, as in Prometheus; one that a clock set back made negative is nothing."""
    tally = Tally()
    tally.observe(metric.LAG, value)
    taken = tally.take()
    assert taken.pop(Series(metric.LAG, (), SUM), 0.0) == max(value, 0.0)
    assert taken == {Series(metric.LAG, (), part): 1}


def test_what_was_taken_is_counted_once() -> None:
    """Until it is put back; nothing counted is nothing to hand over."""
    tally = Tally()
    tally.count(metric.FAILED, "stalled", by=2)
    tally.count(metric.PRUNED, "jobs", by=0)
    taken = tally.take()
    assert taken == {Series(metric.FAILED, ("stalled",)): 2}
    assert tally.take() == {}
    tally.count(metric.FAILED, "stalled")
    tally.put_back(taken)
    assert tally.take() == {Series(metric.FAILED, ("stalled",)): 3}


def test_every_metric_fits_its_table_and_its_kind() -> None:
    """PostgreSQL refuses what is longer than its column."""
    lengths = {"name": CounterRow.name.max_length, "part": CounterRow.part.max_length}
    assert len({each.name for each in METRICS}) == len(METRICS)
    for each in METRICS:
        assert len(each.name) <= lengths["name"]
        assert all(len(f"{bound:g}") <= lengths["part"] for bound in each.bounds)
        assert all(low < high for low, high in pairwise(each.bounds))
        assert bool(each.bounds) == (each.kind is Kind.HISTOGRAM)
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
