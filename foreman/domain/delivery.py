"""What a try to deliver an event came to, and what follows from it: contract section 5."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from foreman.domain.backoff import delay_at
from foreman.domain.job import Moment

#: Bytes of a receiver's answer that are kept. Contract section 5.
EXCERPT_LIMIT_B = 1024

#: Seconds. The longest ``Retry-After`` that is honoured, contract section 5: a receiver cannot park an event for ever.
RETRY_AFTER_LIMIT_S = 3600

#: Answers whose ``Retry-After`` counts: RFC 6585 section 4 and RFC 9110 section 15.6.4.
_HINTING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

#: Digits after which a number of seconds is over any limit; more are not converted.
_MOST_DIGITS = 9


class TryError(StrEnum):
    """Why a try got no answer: ``last_error`` in JSON, and a metric's label."""

    #: No whole answer within ``webhook.timeout_s``, whatever the receiver was doing.
    TIMEOUT = "timeout"
    #: The name does not resolve, now.
    DNS = "dns"
    #: The URL, or an address its name resolves to, may not be called.
    ADDRESS_REFUSED = "address_refused"
    #: Nobody listens there, or no route leads there.
    REFUSED = "refused"
    #: The connection was closed or reset before the answer.
    RESET = "reset"
    #: The certificate does not hold, or the handshake failed.
    TLS = "tls"
    #: What came back is not HTTP.
    PROTOCOL = "protocol"
    #: Nobody was called: this machine had no descriptor left for it.
    TOO_MANY_FILES = "too_many_files"


class Outcome(StrEnum):
    """What became of a try, as far as is known: ``outcome`` in JSON."""

    DELIVERED = "delivered"
    FAILED = "failed"
    #: It is under way.
    IN_FLIGHT = "in_flight"
    #: Its sender died.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one try. Exactly one of ``status`` and ``error`` is set."""

    #: The HTTP status; ``None`` if there was no answer.
    status: int | None
    error: TryError | None
    #: The header ``Retry-After`` as sent; ``None`` without one.
    retry_after: str | None
    #: The beginning of the answer's body, at most ``EXCERPT_LIMIT_B`` bytes in UTF-8, without NUL.
    excerpt: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to try again: ``webhook.retry_delays_s`` and ``webhook.nonterminal_retries``."""

    #: Seconds to wait after the first try, the second, and so on; after the last wait comes one more try.
    delays_s: tuple[float, ...]
    #: How many of these waits an event that is not a job's last one gets.
    nonterminal_retries: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted the event."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """The same event is to be tried again after ``delay_s`` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """The schedule is over: no more tries, and the job's next event has its turn."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The receiver answered 410 Gone: nothing more is sent to this URL for this job."""


Decision = Delivered | RetryIn | Dead | Stopped


def decide(  # noqa: PLR0913  a decision has as many arguments as it has reasons
    attempt: Attempt, *, tries: int, terminal: bool, schedule: Schedule, jitter: float, now: Moment
) -> Decision:
    """What follows from the ``tries``-th try (from 1) of an event, ``terminal`` if it announces its job's end.

    A wait is the schedule's, times the factor ``jitter``, or the receiver's ``Retry-After`` if that is longer.
    """
    if is_success(attempt.status):
        return Delivered()
    if attempt.status == HTTPStatus.GONE:
        return Stopped()
    delays_s = schedule.delays_s if terminal else schedule.delays_s[: schedule.nonterminal_retries]
    scheduled_s = delay_at(delays_s, tries, jitter)
    if scheduled_s is None:
        return Dead()
    return RetryIn(max(scheduled_s, _hint_s(attempt, now)))


def is_success(status: int | None) -> bool:
    """Whether a receiver that answered so has accepted the event; ``None``: it did not answer."""
    return status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def retry_after_s(text: str, now: Moment) -> float | None:
    """Seconds from ``now`` that a ``Retry-After`` header asks for, 0 or more; ``None`` if it is neither of its forms.

    RFC 9110 section 10.2.3: seconds as digits, or an HTTP-date in any of the three formats of section 5.6.7.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[-_MOST_DIGITS:]) if len(text.lstrip("0")) <= _MOST_DIGITS else float("inf")
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - now / 1000)
    except (ValueError, OverflowError):
        return None


def excerpt_of(body: bytes) -> str:
    """The beginning of an answer as text that any database can hold: what is not UTF-8, or is NUL, is replaced."""
    text = body[:EXCERPT_LIMIT_B].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode()[:EXCERPT_LIMIT_B].decode("utf-8", "ignore")


def _hint_s(attempt: Attempt, now: Moment) -> float:
    if attempt.status not in _HINTING or attempt.retry_after is None:
        return 0.0
    return min(retry_after_s(attempt.retry_after, now) or 0.0, RETRY_AFTER_LIMIT_S)
