"""Queries in PromQL, judged as Prometheus cannot: does what they ask for exist, and which labels have their answers?

A wrong name or label is no error to Prometheus: the query is valid and its answer empty, so an alert never fires.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import promql_parser as promql

from foreman.domain.metric import METRICS, Kind, Metric

#: What Prometheus adds to each series it scrapes.
SCRAPED = frozenset({"job", "instance"})
#: Functions of how a counter grew: of a gauge they are nonsense.
_OF_COUNTERS = frozenset({"rate", "irate", "increase", "resets"})
#: What a name ends with that belongs to a histogram, and the labels which that adds.
_PARTS: dict[str, frozenset[str]] = {"_bucket": frozenset({"le"}), "_sum": frozenset(), "_count": frozenset()}


@dataclass(frozen=True, slots=True)
class Series:
    """What one name in a query stands for."""

    metric: Metric
    labels: frozenset[str]


def known(metrics: Iterable[Metric] = METRICS) -> dict[str, Series]:
    """Every name that a query may use."""
    parts = {Kind.HISTOGRAM: _PARTS}
    return {
        each.name + part: Series(each, frozenset(each.labels) | added | SCRAPED)
        for each in metrics
        for part, added in parts.get(each.kind, {"": frozenset[str]()}).items()
    }


@dataclass(slots=True)
class Query:
    """One expression: the names it asks for, the labels its answers have, and everything wrong with it.

    Raises:
        ValueError: it is not PromQL.
    """

    text: str
    series: dict[str, Series] = field(default_factory=known)
    names: set[str] = field(default_factory=set, init=False)
    faults: list[str] = field(default_factory=list, init=False)
    labels: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        # Grafana puts a duration here before Prometheus sees it.
        self.labels = self._of(promql.parse(self.text.replace("$__rate_interval", "5m"))) or frozenset()

    def _of(self, expr: promql.Expr) -> frozenset[str] | None:
        """The labels of what an expression answers; ``None`` for a scalar, which has none to match."""
        match expr:
            case promql.VectorSelector() | promql.MatrixSelector():
                return self._selected(expr if isinstance(expr, promql.VectorSelector) else expr.vector_selector)
            case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
                return self._of(expr.expr)
            case promql.AggregateExpr():
                return self._aggregated(expr)
            case promql.BinaryExpr():
                return self._joined(expr)
            case promql.Call():
                return self._called(expr)
            case _:
                return None

    def _selected(self, selector: promql.VectorSelector) -> frozenset[str]:
        name = selector.name or ""
        found = self.series.get(name)
        if found is None:
            self.faults.append(f"there is no metric {name}")
            return frozenset()
        self.names.add(name)
        for matcher in selector.matchers.matchers:
            self._known({matcher.name}, found.labels)
            if matcher.name in found.metric.labels and found.metric.values:
                self._matches_some(matcher, found.metric.values)
        return found.labels

    def _matches_some(self, matcher: promql.Matcher, values: tuple[str, ...]) -> None:
        """Each alternative has to be a value, of a negative one too: a word that is never said leaves nothing out."""
        exact = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
        for each in [re.escape(matcher.value)] if exact else matcher.value.split("|"):
            if not any(re.fullmatch(each, value) for value in values):
                self.faults.append(f"{matcher.name} is never {each}")

    def _aggregated(self, expr: promql.AggregateExpr) -> frozenset[str]:
        labels = self._of(expr.expr) or frozenset()
        if expr.modifier is None:
            return frozenset()
        named = frozenset(expr.modifier.labels)
        self._known(named, labels)
        return named if expr.modifier.type == promql.AggModifierType.By else labels - named

    def _joined(self, expr: promql.BinaryExpr) -> frozenset[str] | None:
        left, right = self._of(expr.lhs), self._of(expr.rhs)
        if left is None or right is None:
            return right if left is None else left
        if expr.modifier is None or expr.modifier.matching is None:
            if left != right:
                self.faults.append("the two sides have different labels, and never match")
            return left
        self._known(expr.modifier.matching.labels, left & right)
        return left

    def _called(self, call: promql.Call) -> frozenset[str] | None:
        args = [each for each in call.args if isinstance(each, promql.Expr)]
        labels = frozenset[str]().union(*(self._of(each) or () for each in args))
        if call.func.name in _OF_COUNTERS:
            self._grows(args[0])
        match call.func.name:
            case "histogram_quantile":
                self._known({"le"}, labels)
                return labels - {"le"}
            case "vector" | "absent":
                return frozenset()
            case "scalar" | "time":
                return None
            case _:
                return labels

    def _grows(self, of: promql.Expr) -> None:
        name = of.vector_selector.name if isinstance(of, promql.MatrixSelector) else None
        if name in self.series and self.series[name].metric.kind is Kind.GAUGE:
            self.faults.append(f"{name} is a gauge, which has no rate")

    def _known(self, asked: Iterable[str], there: frozenset[str]) -> None:
        self.faults += [f"there is no label {each}" for each in sorted({*asked} - there)]
