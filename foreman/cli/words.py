"""Options of the form NAME=VALUE, and how a moment or a span of time is given and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

#: The units that a span may be given in.
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_SPAN = re.compile(r"(\d{1,6})([smhd])")
#: Of the largest two units of a span those that are shown: "2 h 5 m".
_SHOWN = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def pairs(_ctx: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE``, each value JSON if it is that, else the text itself."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:  # noqa: ANN401 -- whatever JSON has
    try:
        return json.loads(text)
    except ValueError:
        return text


def moment(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    """A time in RFC 3339, or how long ago: ``90s``, ``15m``, ``2h``, ``7d``."""
    if given is None:
        return None
    span = _SPAN.fullmatch(given)
    try:
        if span is not None:
            from foreman import clock  # noqa: PLC0415 -- imported when used, as in main.py

            return datetime.fromtimestamp(clock.now() / 1000, UTC) - int(span[1]) * _UNITS[span[2]]
        found = datetime.fromisoformat(given)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        # Neither, or in a year that has no number.
        pass
    raise click.BadParameter("must be a time with its zone, such as 2026-11-24T12:00:00Z, or an age such as 2h")


def span(seconds: float) -> str:
    """``0.84 s``, ``59 s``, ``2 m 5 s``, ``3 h 1 m``: as exact as anybody wants."""
    if seconds < 10:  # noqa: PLR2004 -- below it, parts of a second matter
        return f"{max(seconds, 0):.2f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size_s in _SHOWN:
        number, left = divmod(left, size_s)
        if number or parts:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


def utc(at: datetime) -> str:
    """A time, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def between(first: datetime, last: datetime) -> str:
    """How long from one to the other."""
    return span((last - first) / timedelta(seconds=1))
