"""How long to wait before another try: doubling for runs of a job, a written schedule for webhooks."""

from __future__ import annotations

from collections.abc import Sequence

#: Doublings after which any ``max_s`` is long exceeded (1 s doubled 40 times is 35,000 years), so that the power stays
#: small enough for a float.
_MOST_DOUBLINGS = 40


def retry_delay_s(attempt: int, *, first_s: float, max_s: float, jitter: float) -> float:
    """Seconds to wait after ``attempt`` (from 1) failed: ``first_s`` doubled with each attempt, at most ``max_s``.

    ``jitter`` is a factor around 1, applied last, so a wait at the limit is spread as well.
    """
    return min(first_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), max_s) * jitter


def delay_at(delays_s: Sequence[float], tries: int, jitter: float) -> float | None:
    """Seconds to wait after the ``tries``-th try (from 1) failed, times the factor ``jitter``; ``None``: give up."""
    return delays_s[tries - 1] * jitter if tries <= len(delays_s) else None
