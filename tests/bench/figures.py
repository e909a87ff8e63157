"""What was measured: rows of foreman beside the floor and its peers, as JSON and as the lines of tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio, or a value where ``of`` is empty, must be; ``bound`` is reached from above or from below."""

    sign: Literal["≥", "≤"]
    bound: float
    #: The side that foreman is divided by; empty: the figure itself.
    of: str = ""

    def met(self, figure: float) -> bool:
        """Whether ``figure`` is on the right side."""
        return figure >= self.bound if self.sign == "≥" else figure <= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured: the same work by foreman and by each other side, in turns.

    ``sides`` holds what each round of each side gave, foreman's under ``foreman``, in ``unit``. A ratio is the median
    of the rounds' ratios, so that a load that comes and goes falls on both sides; of two medians where not ``paired``.
    """

    group: str
    name: str
    unit: str
    sides: dict[str, list[float]]
    targets: list[Target] = field(default_factory=list)
    #: What a reader must know to read the figures right; a sentence.
    note: str = ""
    paired: bool = True

    def value(self, side: str = "foreman") -> float:
        """The median of a side's rounds."""
        return statistics.median(self.sides[side])

    def ratio(self, side: str) -> float:
        """What foreman did, divided by what ``side`` did."""
        ours, theirs = self.sides["foreman"], self.sides[side]
        if self.paired:
            return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
        return self.value() / self.value(side)

    def figure(self, target: Target) -> float | None:
        """What ``target`` speaks of; None if that side was not measured."""
        if not target.of:
            return self.value()
        return self.ratio(target.of) if target.of in self.sides else None

    def verdicts(self) -> list[tuple[Target, float | None]]:
        """Each target with its figure."""
        return [(target, self.figure(target)) for target in self.targets]

    @property
    def missed(self) -> bool:
        """Whether a target that was measured is not met."""
        return any(figure is not None and not target.met(figure) for target, figure in self.verdicts())


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of the benchmark."""

    machine: str
    short: bool
    seconds: float
    rows: list[Row]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        said = asdict(self)
        for row in said["rows"]:
            row["sides"] = {side: [float(f"{each:.4g}") for each in rounds] for side, rounds in row["sides"].items()}
        path.write_text(json.dumps(said, ensure_ascii=False).replace('{"group"', '\n{"group"') + "\n", encoding="utf-8")


def load(path: Path) -> Figures:
    """What ``save`` wrote."""
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "targets": [Target(**each) for each in row["targets"]]}) for row in said.pop("rows")]
    return Figures(rows=rows, **said)


def number(value: float) -> str:
    """Three figures that say something: ``0.71``, ``4.92``, ``38.1``, ``1,240``."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


#: The columns of both tables.
HEADS = ("what", "unit", "foreman", "beside it", "foreman ÷ that", "target", "met")


def cells(row: Row) -> list[tuple[str, ...]]:
    """A row's lines: its own target if there is one, then one for each side that it stands beside or should."""
    wanted = {target.of: target for target in row.targets}
    sides = [side for side in row.sides if side != "foreman"]
    sides += [side for side in wanted if side and side not in row.sides]
    own = [""] if "" in wanted or not sides else []
    return [_line(row, side, wanted.get(side), first=not index) for index, side in enumerate([*own, *sides])]


def _line(row: Row, side: str, target: Target | None, *, first: bool) -> tuple[str, ...]:
    measured = side in row.sides
    figure = None if target is None else row.figure(target)
    return (
        row.name if first else "",
        row.unit if first else "",
        number(row.value()) if first else "",
        f"{side} {number(row.value(side))}" if measured else f"{side} —" if side else "",
        number(row.ratio(side)) if measured else "",
        "" if target is None else f"{target.sign} {target.bound:g}",
        "" if target is None or figure is None else "yes" if target.met(figure) else "no",
    )


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by what they are about, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


#: The order of the tables.
ORDER = (
    "Submissions",
    "Jobs",
    "Latency when idle",
    "Webhooks",
    "Synchronous calls",
    "Growth",
    "Memory",
)


def merged(before: Figures, after: Figures) -> Figures:
    """``after``, with the rows of ``before`` that it did not measure anew."""
    anew = {(row.group, row.name) for row in after.rows}
    rows = [*(row for row in before.rows if (row.group, row.name) not in anew), *after.rows]
    rows.sort(key=lambda row: ORDER.index(row.group))
    return replace(after, seconds=before.seconds + after.seconds, rows=rows)


def markdown(made: Figures) -> str:
    """The tables of a document, one for each group."""
    parts = []
    for group, rows in groups(made.rows).items():
        lines = [HEADS, ("---",) * len(HEADS), *(cell for row in rows for cell in cells(row))]
        table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        notes = "".join(f"\n{row.name}: {row.note}\n" for row in rows if row.note)
        parts.append(f"### {group}\n\n{table}{notes}")
    return "\n".join(parts)
