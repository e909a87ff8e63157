from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.delivery import (
    EXCERPT_LIMIT_B,
    Attempt,
    Dead,
    Decision,
    Delivered,
    RetryIn,
    Schedule,
    Stopped,
    TryError,
    decide,
    excerpt_of,
    retry_after_s,
)

#: Contract section 5.
SCHEDULE = Schedule(delays_s=(1, 2, 4, 8, 16, 60, 300, 1800, 7200, 21_600), nonterminal_retries=5)
#: 1994-11-06T08:49:37Z, the moment in RFC 9110's examples.
NOW = 784_111_777_000


def decided(came: int | TryError, *, tries: int = 1, terminal: bool = True, retry_after: str | None = None) -> Decision:
    """The decision after a try that ended in a status or an error, with a jitter of 1."""
    status = came if not isinstance(came, TryError) else None
    error = came if isinstance(came, TryError) else None
    attempt = Attempt(status, error, retry_after, "", 5)
    return decide(attempt, tries=tries, terminal=terminal, schedule=SCHEDULE, jitter=1.0, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """A receiver accepts with whatever success it likes."""
    assert decided(status) == Delivered()


@pytest.mark.parametrize("came", [100, 199, 300, 301, 302, 304, 308, 400, 401, 404, 409, 429, 500, 503, 599, *TryError])
def test_everything_else_is_retried(came: int | TryError) -> None:
    """A redirect, a client error and a failed connection may all be gone the next time."""
    assert decided(came) == RetryIn(1)


def test_gone_stops_the_url_for_the_job() -> None:
    """410 is the receiver's way to say: no more, even on the last try."""
    assert decided(410) == Stopped()
    assert decided(410, tries=99) == Stopped()


@pytest.mark.parametrize(("tries", "decision"), [*enumerate(map(RetryIn, SCHEDULE.delays_s), 1), (11, Dead())])
def test_a_terminal_event_goes_through_the_whole_schedule(tries: int, decision: Decision) -> None:
    """1, 2, 4, 8, 16 s, 1 m, 5 m, 30 m, 2 h, 6 h, and then it is dead."""
    assert decided(500, tries=tries) == decision


@pytest.mark.parametrize(
    ("tries", "decision"),
    [(1, RetryIn(1)), (2, RetryIn(2)), (3, RetryIn(4)), (4, RetryIn(8)), (5, RetryIn(16)), (6, Dead())],
)
def test_a_nonterminal_event_gives_up_after_the_first_five_waits(tries: int, decision: Decision) -> None:
    """Later states should not wait for hours behind one that is of no more use."""
    assert decided(TryError.REFUSED, tries=tries, terminal=False) == decision


def test_a_schedule_shorter_than_the_nonterminal_retries_holds_for_both() -> None:
    """An operator who shortens the schedule shortens it for every event."""
    short = Schedule(delays_s=(1, 2), nonterminal_retries=5)
    attempt = Attempt(500, None, None, "", 1)
    assert decide(attempt, tries=2, terminal=False, schedule=short, jitter=1.0, now=NOW) == RetryIn(2)
    assert decide(attempt, tries=3, terminal=False, schedule=short, jitter=1.0, now=NOW) == Dead()


def test_jitter_spreads_the_schedule() -> None:
    """Receivers that failed together are not tried again together."""
    attempt = Attempt(500, None, None, "", 1)
    assert decide(attempt, tries=3, terminal=True, schedule=SCHEDULE, jitter=0.75, now=NOW) == RetryIn(3)


@pytest.mark.parametrize(
    ("status", "retry_after", "tries", "delay_s"),
    [
        (503, "120", 1, 120),
        (429, "120", 1, 120),
        (429, "Sun, 06 Nov 1994 08:50:37 GMT", 1, 60),
        (503, "86400", 1, 3600),  # an hour is the most
        (503, "9" * 5000, 1, 3600),
        (503, "2", 4, 8),  # the schedule's own wait is longer
        (503, "3600", 10, 21_600),
        (503, "0", 1, 1),
        (503, "Sun, 06 Nov 1994 08:00:00 GMT", 1, 1),  # long past
        (503, "soon", 1, 1),
        (500, "120", 1, 1),  # only 429 and 503 ask for a pause
        (302, "120", 1, 1),
    ],
)
def test_a_wait_is_the_longer_of_schedule_and_retry_after(
    status: int, retry_after: str, tries: int, delay_s: float
) -> None:
    """A busy receiver may ask for more time, up to an hour, but not for less."""
    assert decided(status, retry_after=retry_after, tries=tries) == RetryIn(delay_s)


def test_a_receiver_cannot_prolong_the_schedule() -> None:
    """``Retry-After`` on the last try does not buy another one."""
    assert decided(503, retry_after="10", tries=11) == Dead()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 007 ", 7),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10),  # RFC 850
        ("Sun Nov  6 08:49:47 1994", 10),  # asctime
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("١٢", None),
        ("Sun, 99 Nov 1994 08:49:47 GMT", None),
    ],
)
def test_retry_after_has_two_forms(text: str, seconds: float | None) -> None:
    """Seconds, or a date in any of the three formats of HTTP; anything else is as if it were not there."""
    assert retry_after_s(text, NOW) == seconds


@given(st.text())
def test_any_retry_after_text_is_read(text: str) -> None:
    """No header makes the decision fail, and no hint is negative."""
    hint_s = retry_after_s(text, NOW)
    assert hint_s is None or hint_s >= 0


@given(st.binary(max_size=3 * EXCERPT_LIMIT_B))
def test_an_excerpt_fits_any_database(body: bytes) -> None:
    """At most 1 KiB of UTF-8 without NUL, however the receiver's bytes look."""
    excerpt = excerpt_of(body)
    assert len(excerpt.encode()) <= EXCERPT_LIMIT_B
    assert "\0" not in excerpt
