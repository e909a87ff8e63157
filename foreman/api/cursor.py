"""The place where a page of a listing ends, as a text that clients hand back without looking into it."""

from __future__ import annotations

import base64
import binascii
import re

from foreman.api.problems import BAD_PARAMETER, HTTPProblem


def cursor_of(*place: str | int) -> str:
    """The cursor of the page that begins after ``place``."""
    return base64.urlsafe_b64encode(":".join(map(str, place)).encode()).decode().rstrip("=")


def place_of(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    """The place that a cursor stands for, by the groups of ``form``.

    Raises:
        HTTPProblem: 400 if it is none that this listing gave.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        place = ""
    match = form.fullmatch(place)
    if match is None:
        raise HTTPProblem(BAD_PARAMETER, "cursor must be the next_cursor of an earlier page.")
    return match
