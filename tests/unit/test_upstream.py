from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause
from foreman.domain.upstream import FRESH_MS, Slots, Standing, Status, Survey, next_try

NOW = 1_000_000
GONE = JobFailure(Cause.UPSTREAM_UNREACHABLE, "The upstream refused the connection.")


def standing(name: str = "u", slots: int = 2, **changes: Any) -> Standing:
    """An upstream that was found well a second ago."""
    return Standing(Slots(name, slots), **({"checked_at": NOW - 1000} | changes))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.OK),
        ({"checked_at": None}, Status.UNKNOWN),
        ({"checked_at": NOW - FRESH_MS}, Status.UNKNOWN),
        ({"error": GONE}, Status.DOWN),
        ({"error": GONE, "held_until": NOW + 1}, Status.DOWN),
        ({"error": GONE, "checked_at": NOW - FRESH_MS}, Status.UNKNOWN),
        ({"held_until": NOW + 1}, Status.HELD),
        ({"held_until": NOW}, Status.OK),
        ({"held_until": NOW + 1, "checked_at": None}, Status.HELD),
    ],
)
def test_the_status_is_what_matters_most(changes: dict[str, Any], status: Status) -> None:
    """Down before held before well; and a minute after the last look nobody knows."""
    assert standing(**changes).status(NOW) is status
    assert (standing(**changes).problem(NOW) is None) == (status in {Status.OK, Status.UNKNOWN})


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, True),
        ({"used": 1}, True),
        ({"used": 2}, False),
        ({"used": 3}, False),
        ({"held_until": NOW + 1}, False),
        # A job is tried all the same, if no other upstream can run it.
        ({"error": GONE}, True),
    ],
)
def test_jobs_are_given_where_a_slot_is_free_and_nothing_was_refused(changes: dict[str, Any], *, free: bool) -> None:
    """A probe that failed is not a refusal."""
    assert standing(**changes).server(NOW).free is free


@pytest.mark.parametrize(
    ("model", "loaded", "checked_at", "believed"),
    [
        ("a", ("a:latest", "b"), NOW, ["a:latest", "b:latest"]),
        (None, ("b",), NOW, ["b:latest"]),
        # The list is older than the model that was given last: it may have pushed out b.
        ("a", ("b",), NOW, []),
        ("a", ("a", "b"), NOW - FRESH_MS, []),
    ],
)
def test_what_is_in_memory_is_believed_while_it_can_be_so(
    model: str | None, loaded: tuple[str, ...], checked_at: int, believed: list[str]
) -> None:
    """A model that is taken to be there and is not costs a load that nobody counted on."""
    seen = standing(model=model, survey=Survey(("a", "b"), loaded), checked_at=checked_at)
    assert sorted(seen.server(NOW).loaded) == believed


def test_a_list_that_is_too_old_is_none() -> None:
    """Jobs go by what the operator named."""
    survey = Survey(("a",))
    assert standing(survey=survey).server(NOW).available == frozenset({"a:latest"})
    assert standing(survey=survey, checked_at=NOW - FRESH_MS).server(NOW).available is None


@pytest.mark.parametrize(
    ("held_for", "found", "back"),
    [
        (Cause.UPSTREAM_UNREACHABLE, Survey(), True),
        (Cause.UPSTREAM_UNREACHABLE, GONE, False),
        (Cause.UPSTREAM_ERROR, Survey(), False),
    ],
)
def test_a_probe_ends_the_hold_of_an_upstream_that_was_away(
    held_for: Cause, found: Survey | JobFailure, *, back: bool
) -> None:
    """One that is too busy for chats answers probes all the same, and is left alone until it said."""
    held = standing(failures=3, held_until=NOW + 1, held_for=held_for)
    assert held.is_back(found) is back
    assert not standing().is_back(found)


def test_the_next_try_is_at_once_where_another_upstream_has_the_model() -> None:
    """Else when the first hold of those that have it is over."""
    held = standing("1", held_until=NOW + 500, survey=Survey(("a",)))
    later = standing("2", held_until=NOW + 900, survey=Survey(("a", "b")))
    assert next_try([held, later], "a", NOW) == NOW + 500
    assert next_try([held, later], "b", NOW) == NOW + 900
    assert next_try([held, later, standing("3", survey=Survey(("a",)))], "a", NOW) == NOW
    assert next_try([held, replace(later, slots=Slots("2", 1, ("c",)))], "b", NOW) == NOW + 500
    assert next_try([replace(held, slots=Slots("1", 1, ("c",)))], "b", NOW) is None
