"""How numbers, times and JSON are written for people."""

from __future__ import annotations

import json

from foreman.domain.job import Moment
from foreman.domain.moment import rfc3339

_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1000, 60_000, 3_600_000, 86_400_000

#: Characters of a text that a page shows: more is a download, not something to read.
SHOWN_CHARS = 65_536


def duration(ms: float) -> str:
    """``850 ms``, ``2.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    whole = max(0, round(ms))
    if whole < _SECOND_MS:
        return f"{whole} ms"
    if whole < 10 * _SECOND_MS:
        return f"{whole / _SECOND_MS:.1f} s"
    for unit_ms, unit, below_ms, below in (
        (_DAY_MS, "d", _HOUR_MS, "h"),
        (_HOUR_MS, "h", _MINUTE_MS, "min"),
        (_MINUTE_MS, "min", _SECOND_MS, "s"),
    ):
        if whole >= unit_ms:
            rest = whole % unit_ms // below_ms
            return f"{whole // unit_ms} {unit} {rest} {below}" if rest else f"{whole // unit_ms} {unit}"
    return f"{whole // _SECOND_MS} s"


def size(size_b: int) -> str:
    """``512 B``, ``1.5 KiB``, ``20 MiB``."""
    amount, unit = float(size_b), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":  # noqa: PLR2004  that is what KiB means
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"  # noqa: PLR2004  two digits


def number(value: int) -> str:
    """``10,000``."""
    return f"{value:,}"


def counted(value: int, at_most: int) -> str:
    """``12``, or ``10,000+`` where no further was counted."""
    return f"{value:,}+" if value >= at_most else f"{value:,}"


def moment(at: Moment) -> str:
    """``2026-11-24 03:39:53 UTC``; a browser shows its own time in its place."""
    return rfc3339(at)[:19].replace("T", " ") + " UTC"


def pretty(value: object) -> str:
    """JSON over several lines, cut after ``SHOWN_CHARS``."""
    return cut(json.dumps(value, ensure_ascii=False, indent=2))


def cut(text: str) -> str:
    """The beginning of a text, and how much is not shown."""
    left_out = len(text) - SHOWN_CHARS
    return text if left_out <= 0 else f"{text[:SHOWN_CHARS]}\n… and {left_out:,} characters more"
