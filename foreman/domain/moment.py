"""How a moment, milliseconds since the epoch, is written for people and read back: RFC 3339, always UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from foreman.domain.job import Moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: RFC 3339 section 5.6 ``date-time``: the letters in either case, any number of fraction digits, an offset required.
#: Hour 24 is shut out here, since ``fromisoformat`` takes it from Python 3.13 on.
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def rfc3339(moment: Moment) -> str:
    """``2026-11-24T03:39:53.123Z``: UTC, three fraction digits, years 0001 to 9999."""
    text = (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def rfc3339_or_none(moment: Moment | None) -> str | None:
    """As ``rfc3339``; ``None`` for a moment that has not come."""
    return None if moment is None else rfc3339(moment)


def parse_rfc3339(text: str) -> Moment | None:
    """The moment an RFC 3339 ``date-time`` names, finer fractions cut off; ``None`` if it is not one.

    A leap second (``:60``), which RFC 3339 allows, is ``None`` too: no clock of ours shows one.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, offset = match.groups(default="")
    try:
        at = datetime.fromisoformat(f"{date}T{time}{offset.upper().replace('Z', '+00:00')}")
        seconds = (at - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return seconds * 1000 + int(fraction[1:4].ljust(3, "0"))
