"""What ``/metrics`` answered, parsed, and judged as ``promtool check metrics`` would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]

_NAME = re.compile(r"foreman_[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-z][a-z_]*")
#: What a name may not end with, unless the format itself adds it.
_RESERVED = ("_count", "_sum", "_bucket", "_created")
#: Words that say a unit other than the base one.
_WRONG_UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)")


class Scrape:
    """One answer, in OpenMetrics' form."""

    def __init__(self, text: str) -> None:
        self._families: list[Any] = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]

    @property
    def families(self) -> dict[str, str]:
        """The type of each family by the name that queries know it by."""
        return {_queried(each): "gauge" if each.type == "unknown" else each.type for each in self._families}

    @property
    def names(self) -> set[str]:
        """Every name that a query may use, of series that are not there yet too."""
        parts = {"histogram": ("_bucket", "_sum", "_count")}
        return {_queried(each) + part for each in self._families for part in parts.get(each.type, ("",))}

    def values(self, name: str) -> dict[Labels, float]:
        """The series of one name by their labels."""
        samples = (sample for family in self._families for sample in family.samples)
        return {tuple(sorted(each.labels.items())): each.value for each in samples if each.name == name}

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series with these labels."""
        return sum(value for found, value in self.values(name).items() if labels.items() <= dict(found).items())

    def faults(self) -> list[str]:
        """Everything that is not as Prometheus advises."""
        return [fault for family in self._families for fault in _faults(family)]


def _queried(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def _faults(family: Any) -> Iterator[str]:
    name = family.name
    if not _NAME.fullmatch(name) or _WRONG_UNITS.search(name):
        yield f"{name}: not a good name"
    if name.endswith(_RESERVED) or name.endswith("_total"):
        yield f"{name}: ends with a word of the format"
    if not family.documentation.endswith("."):
        yield f"{name}: no help text"
    if family.type == "histogram" and not name.endswith(("_seconds", "_bytes")):
        yield f"{name}: no unit"
    for sample in family.samples:
        bad = [each for each in sample.labels if not _LABEL.fullmatch(each) or each in {"job", "instance"}]
        if bad:
            yield f"{name}: labels {bad}"
        if not sample.value >= 0:
            yield f"{name}: {sample.value}"
    if family.type == "histogram":
        yield from _not_cumulative(family)


def _not_cumulative(family: Any) -> Iterator[str]:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    counts: dict[Labels, float] = {}
    for sample in family.samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    for labels, found in buckets.items():
        if any(low > high for (_, low), (_, high) in pairwise(sorted(found))) or max(found)[1] != counts[labels]:
            yield f"{family.name}{labels}: buckets do not add up"
