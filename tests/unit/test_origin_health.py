from __future__ import annotations

import pytest

from foreman.domain.delivery import Attempt, TryError
from foreman.domain.origin_health import WELL, Circuit, CircuitPolicy, Health, after_failure, is_down

NOW = 1_700_000_000_000

#: Opens on the third failure in a row with two events waiting: 5 s, 10 s, 20 s, 20 s.
POLICY = CircuitPolicy(failures=3, waiting=2, open_s=5, open_max_s=20)


def failed(health: Health, *, now: int = NOW, waiting: int = 9, jitter: float = 1.0) -> Health:
    """The health after one more failure."""
    return after_failure(health, waiting=waiting, policy=POLICY, jitter=jitter, now=now)


def opened() -> Health:
    """A circuit that has just opened."""
    return failed(failed(failed(WELL)))


def test_a_circuit_opens_on_the_last_of_so_many_failures_in_a_row() -> None:
    """Not before; then nothing is sent until the time is over, and one try at once after that."""
    assert [failed(WELL).circuit(NOW), failed(failed(WELL)).circuit(NOW)] == [Circuit.CLOSED] * 2
    health = opened()
    assert health == Health(failures=3, openings=1, opened_at=NOW, open_until=NOW + 5_000)
    assert [health.circuit(at) for at in (NOW, NOW + 4_999, NOW + 5_000)] == [
        Circuit.OPEN,
        Circuit.OPEN,
        Circuit.HALF_OPEN,
    ]
    assert [health.most_at_once(8, at) for at in (NOW, NOW + 5_000)] == [0, 1]
    assert WELL.most_at_once(8, NOW) == failed(WELL).most_at_once(8, NOW) == 8


def test_each_probe_that_fails_opens_for_twice_as_long_up_to_the_limit() -> None:
    """Jitter comes last; since when the circuit has not been closed is kept."""
    health, now, waits = opened(), NOW, []
    for _ in range(4):
        now = health.open_until or 0
        health = failed(health, now=now)
        waits.append((health.open_until or 0) - now)
    assert waits == [10_000, 20_000, 20_000, 20_000]
    assert (health.openings, health.failures, health.opened_at) == (5, 7, NOW)
    assert failed(opened(), now=NOW + 5_000, jitter=1.2).open_until == NOW + 17_000


def test_a_try_that_was_under_way_when_the_circuit_opened_does_not_lengthen_it() -> None:
    """It is one more failure, and no probe."""
    health = failed(opened(), now=NOW + 4_999)
    assert health == Health(failures=4, openings=1, opened_at=NOW, open_until=NOW + 5_000)


def test_few_events_keep_to_their_own_schedule() -> None:
    """However often they fail, no circuit makes them late; one that is open closes when the crowd has gone."""
    health = WELL
    for _ in range(50):
        health = failed(health, waiting=1)
    assert health == Health(failures=50)
    assert failed(health, waiting=2).circuit(NOW) is Circuit.OPEN
    assert failed(opened(), now=NOW + 5_000, waiting=1) == Health(failures=4)


@pytest.mark.parametrize(
    ("came", "down"),
    [
        (200, False),
        (301, False),
        (404, False),
        (410, False),
        (429, False),
        (500, False),
        (502, True),
        (503, True),
        (504, True),
        (TryError.TIMEOUT, True),
        (TryError.DNS, True),
        (TryError.REFUSED, True),
        (TryError.RESET, True),
        (TryError.TLS, True),
        (TryError.PROTOCOL, True),
        (TryError.ADDRESS_REFUSED, None),
        (TryError.TOO_MANY_FILES, None),
    ],
)
def test_what_a_try_says_of_the_whole_origin(came: int | TryError, down: bool | None) -> None:  # noqa: FBT001 (a table's column)
    """No answer, and a proxy's word that nobody is behind it, count against it; an answer of any other kind for it."""
    error = came if isinstance(came, TryError) else None
    assert is_down(Attempt(None if error else int(came), error, None, "", 5)) is down
