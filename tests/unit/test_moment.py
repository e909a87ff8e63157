from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.moment import parse_rfc3339, rfc3339

#: 0001-01-01 and 9999-12-31T23:59:59.999: what four year digits can say.
MOMENTS = st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999)


def test_a_moment_is_written_in_utc_with_milliseconds() -> None:
    """The one spelling every timestamp of the API and the webhooks has."""
    assert rfc3339(1_795_491_593_123) == "2026-11-24T03:39:53.123Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(MOMENTS)
def test_what_was_written_reads_back_as_the_same_moment(moment: int) -> None:
    """No moment a four-digit year can name loses a millisecond on the way."""
    assert parse_rfc3339(rfc3339(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01 00:00:01Z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01T00:00:00.123999999999Z", 123),
        ("1969-12-31T23:59:59.25Z", -750),
    ],
)
def test_every_spelling_that_rfc_3339_allows_is_read(text: str, moment: int) -> None:
    """A client may send another offset, another case, more or fewer fraction digits."""
    assert parse_rfc3339(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00Z",
        "1970-02-30T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T23:59:60Z",
        "1970-01-01T00:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00Z\n",
        "١٩٧٠-01-01T00:00:00Z",
        "19700101T000000Z",
        "0",
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    """A bare date, a missing offset, a day or an hour that does not exist: the caller hears of it."""
    assert parse_rfc3339(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_ends_of_the_calendar_do_not_overflow(text: str) -> None:
    """An offset may lead past the first or the last year; that is a moment or none, never a crash."""
    moment = parse_rfc3339(text)
    assert moment is None or isinstance(moment, int)
