"""The ratios with a target as a plot: a few lines of SVG, with nothing to install."""

from __future__ import annotations

import math
from html import escape

from tests.bench.figures import Figures, Row, Target, number

#: Pixels: of a line, of the text on the left, and of the scale.
_LINE, _LEFT, _WIDE = 22, 470, 420
#: The scale reaches from a thirtieth of the target to thirty times it; what lies beyond is drawn at its end.
_DECADES = math.log10(30)


def svg(made: Figures) -> str:
    """One bar per target, from it towards what was measured: to the right is better, whatever the target's sign."""
    bars = [(row, target, figure) for row in made.rows for target, figure in row.verdicts() if figure is not None]
    height = 60 + _LINE * len(bars)
    middle = _LEFT + _WIDE // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 90} {height}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{middle}" y="18" text-anchor="middle">target</text>',
        f'<text x="{_LEFT + _WIDE}" y="18" text-anchor="end">better →</text>',
        f'<line x1="{middle}" x2="{middle}" y1="24" y2="{height - 24}" stroke="#555" stroke-dasharray="4 3"/>',
    ]
    parts += [_bar(32 + _LINE * index, middle, *bar) for index, bar in enumerate(bars)]
    parts.append(
        f'<text x="8" y="{height - 8}" fill="#555">{escape(made.machine)}; logarithmic scale</text></g></svg>\n'
    )
    return "\n".join(parts)


def _bar(top: int, middle: int, row: Row, target: Target, figure: float) -> str:
    met = target.met(figure)
    # A latency can be added to by less than nothing, as far as noise can tell.
    ratio = max(figure, 1e-6) / target.bound
    better = math.log10(ratio if target.sign == "≥" else 1 / ratio)
    reach = max(-1.0, min(1.0, better / _DECADES)) * _WIDE / 2
    name = row.name + (f" ÷ {target.of}" if target.of else f", {row.unit}")
    x, colour = min(middle, middle + reach), "#2a7d4f" if met else "#b3412e"
    return (
        f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{x:.1f}" y="{top}" width="{max(1.0, abs(reach)):.1f}" height="15" fill="{colour}"/>'
        f'<text x="{_LEFT + _WIDE + 8}" y="{top + 12}">{number(figure)} ({escape(target.sign)} {target.bound:g})</text>'
    )
