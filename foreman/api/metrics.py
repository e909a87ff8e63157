"""``/metrics``: what all processes counted and what is so now, in the form that Prometheus reads. Contract section 7.

Both come from the database, so every web process of one installation says the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import falcon
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from foreman import __version__, clock
from foreman.domain import metric
from foreman.domain.job import Moment
from foreman.domain.metric import COUNTED, GAUGES, Kind, Metric
from foreman.domain.upstream import Standing
from foreman.store.counters import Counters
from foreman.store.events import Events
from foreman.store.gauges import Amounts, Gauges
from foreman.store.origins import Origins
from foreman.store.upstreams import Upstreams
from foreman.tally import REST, SUM

#: How many times as long as counting took, what was counted is told again before it is counted anew: so that takes a
#: twentieth of one core at most, however much there is to count and whoever asks. A million jobs take 0.1 to 0.2 s,
#: measured on both engines.
HOLD_TIMES = 20

#: Values by their labels' values.
Values = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked for numbers."""

    counters: Counters
    gauges: Gauges
    events: Events
    origins: Origins
    upstreams: Upstreams


@dataclass(frozen=True, slots=True)
class Counted:
    """What takes long to count where there is much of it."""

    amounts: Amounts
    #: Events by status: ``pending`` and ``dead``.
    events: Mapping[str, int]


class Count:
    """Counts, or tells what was counted a moment ago. Any number of threads may ask at once; one of them counts."""

    def __init__(self, sources: Sources, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._sources = sources
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held: Counted | None = None
        self._held_until = 0.0

    def now(self) -> Counted:
        """What there is.

        Raises:
            StoreUnavailable: it cannot be counted.
        """
        with self._lock:
            began = self._monotonic()
            if self._held is None or began >= self._held_until:
                self._held = Counted(self._sources.gauges.amounts(clock.now()), self._sources.events.counts())
                ended = self._monotonic()
                self._held_until = ended + HOLD_TIMES * (ended - began)
            return self._held


class MetricsResource:
    """``GET /metrics``."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collected(sources, Count(sources)))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Write the metrics in the form that the client prefers.

        Raises:
            StoreUnavailable: a failed scrape, which Prometheus alerts on; zeros would look like an idle installation.
        """
        encode, content_type = choose_encoder(req.get_header("Accept", default=""))
        resp.data = encode(self._registry)
        resp.content_type = content_type
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


def gauges(sources: Sources, counted: Counted, now: Moment) -> Mapping[Metric, Values]:
    """Every gauge.

    Raises:
        StoreUnavailable: they cannot be told.
    """
    amounts = counted.amounts
    standings = sources.upstreams.standings()

    def each(value: Callable[[Standing], float]) -> Values:
        return {(standing.name,): float(value(standing)) for standing in standings}

    return {
        metric.JOBS: {(str(state),): count for state, count in amounts.jobs.items()},
        metric.QUEUE: {(str(at.state), at.model, at.priority.label): count for at, count in amounts.queue.items()},
        metric.OLDEST: {(priority.label,): ms / 1000 for priority, ms in amounts.oldest_ms.items()},
        metric.SLOTS: each(lambda standing: standing.slots.count),
        metric.SLOTS_IN_USE: each(lambda standing: standing.used),
        metric.UPSTREAM_UP: each(lambda standing: standing.error is None),
        metric.UPSTREAM_HELD: each(lambda standing: standing.held_until > now),
        metric.EVENTS_PENDING: {(): counted.events.get("pending", 0)},
        metric.EVENTS_DEAD: {(): counted.events.get("dead", 0)},
        metric.CIRCUITS: {(str(state),): count for state, count in sources.origins.circuits(now).items()},
        metric.UNSTORED: {(): amounts.unstored},
        metric.BUILD: {(__version__,): 1},
    }


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    sources: Sources
    count: Count

    def describe(self) -> Iterable[Family]:
        """Nothing, so that registering counts nothing yet."""
        return []

    def collect(self) -> Iterator[Family]:
        """Ask for all numbers."""
        found = gauges(self.sources, self.count.now(), clock.now())
        for each in GAUGES:
            yield _family(each, GaugeMetricFamily, found[each])
        counted: dict[Metric, dict[tuple[str, ...], dict[str, float]]] = {}
        for series, value in self.sources.counters.all().items():
            counted.setdefault(series.metric, {}).setdefault(series.labels, {})[series.part] = value
        for each in COUNTED:
            parts = _from_the_beginning(each) | counted.get(each, {})
            if each.kind is Kind.HISTOGRAM:
                yield _histogram(each, parts)
            else:
                yield _family(each, CounterMetricFamily, {labels: some.get("", 0) for labels, some in parts.items()})


def _from_the_beginning(each: Metric) -> dict[tuple[str, ...], dict[str, float]]:
    """The series that are there before anything was counted."""
    return {(value,): {} for value in each.values} if each.labels else {(): {}}


def _family(each: Metric, kind: type[GaugeMetricFamily | CounterMetricFamily], values: Values) -> Family:
    family = kind(each.name, each.help, labels=each.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(each: Metric, counted: Mapping[tuple[str, ...], Mapping[str, float]]) -> Family:
    family = HistogramMetricFamily(each.name, each.help, labels=each.labels)
    names = [*(f"{bound:g}" for bound in each.bounds), REST]
    for labels, parts in sorted(counted.items()):
        below = accumulate(parts.get(name, 0) for name in names)
        family.add_metric(labels, list(zip(names, below, strict=True)), sum_value=parts.get(SUM, 0))
    return family
