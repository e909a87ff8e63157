from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from foreman.cli.words import moment, pairs, span, utc

CONTEXT = click.Context(click.Command("any"))
OPTION = click.Option(["--any"])


def test_values_are_json_where_they_can_be() -> None:
    """So that a number is one; what is no JSON is text, and of several equals signs the first counts."""
    given = ("order=17", "hot=true", 'tags=["a"]', "for=me", "formula=a=b", "empty=")
    assert pairs(CONTEXT, OPTION, given) == {
        "order": 17,
        "hot": True,
        "tags": ["a"],
        "for": "me",
        "formula": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("given", ["order", "=17", ""])
def test_what_is_no_pair_is_refused(given: str) -> None:
    """Rather than taken for a name without a value."""
    with pytest.raises(click.BadParameter, match="is not NAME=VALUE"):
        pairs(CONTEXT, OPTION, (given,))


def test_a_moment_is_a_time_with_its_zone_or_an_age() -> None:
    """Both are the same moment for whoever reads it."""
    assert moment(CONTEXT, OPTION, "2026-11-24T13:00:00+01:00") == datetime(2026, 11, 24, 12, tzinfo=UTC)
    ago = moment(CONTEXT, OPTION, "2h")
    assert ago is not None
    assert timedelta(hours=2) <= datetime.now(UTC) - ago < timedelta(hours=2, minutes=5)
    assert moment(CONTEXT, OPTION, None) is None


@pytest.mark.parametrize(
    "given",
    [
        "yesterday",
        "2026-11-24T13:00:00",
        "-2h",
        "2 hours",
        "",
        "999999d",
        "0001-01-01T00:00+14:00",
        "2026-11-31T10:00Z",
    ],
)
def test_a_moment_that_may_be_another_elsewhere_is_refused(given: str) -> None:
    """A time without a zone, words, what is before the first year, and a day that never was."""
    with pytest.raises(click.BadParameter, match="must be a time with its zone"):
        moment(CONTEXT, OPTION, given)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0.00 s"), (0.842, "0.84 s"), (59.4, "59 s"), (125, "2 m 5 s"), (3600, "1 h 0 m"), (90_061, "1 d 1 h")],
)
def test_spans_are_told_in_two_units(seconds: float, told: str) -> None:
    """As exact as anybody wants."""
    assert span(seconds) == told


def test_times_are_written_as_the_api_writes_them() -> None:
    """In UTC, to the millisecond."""
    assert utc(datetime.fromisoformat("2026-11-24T13:00:00.1239+01:00")) == "2026-11-24T12:00:00.123Z"
