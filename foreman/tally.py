"""What this process has counted and not yet handed over: a dictionary behind a lock, and no more on anybody's path."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from foreman.domain.metric import Metric

#: Parts of a histogram besides its bounds: what lies above all of them, and the sum of all.
REST, SUM = "+Inf", "sum"


@dataclass(frozen=True, slots=True)
class Series:
    """One number: ``labels`` are the values of the metric's labels in its order; ``part`` is empty for a counter.

    Of a histogram it is the bound below which, and above the one before, something was measured; or ``REST``, ``SUM``.
    """

    metric: Metric
    labels: tuple[str, ...] = ()
    part: str = ""


class Tally:
    """Counts for one process; any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Series] = Counter()

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add ``by`` to a counter."""
        with self._lock:
            self._counts[Series(metric, labels)] += by  # type: ignore[assignment]  # typeshed's counters hold ints

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add one measured value, in the metric's unit, to a histogram; a negative one, by a clock set back, is 0."""
        value = max(value, 0.0)
        at = bisect_left(metric.bounds, value)
        part = f"{metric.bounds[at]:g}" if at < len(metric.bounds) else REST
        with self._lock:
            self._counts[Series(metric, labels, part)] += 1
            self._counts[Series(metric, labels, SUM)] += value  # type: ignore[assignment]  # (as above)

    def take(self) -> dict[Series, float]:
        """Everything counted since the last time, which is forgotten here."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return {series: float(value) for series, value in taken.items() if value}

    def put_back(self, taken: Mapping[Series, float]) -> None:
        """Count again what could not be handed over."""
        with self._lock:
            for series, value in taken.items():
                self._counts[series] += value  # type: ignore[assignment]  # (as above)
