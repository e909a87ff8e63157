"""Where a job is in somebody's trace, and what each step is told of it. Here nothing is traced: ``otel.py`` does that.

A span's ``traceparent`` is what goes on to whoever does the next step: the job's row, the upstream, a receiver. Without
tracing it is the client's own, so a trace that passes through foreman is not cut by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from foreman.domain.job import Moment

#: Something that is known of a step; ``None`` is left out.
Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]


class Span:
    """A step under way."""

    def __init__(self, traceparent: str | None) -> None:
        """``traceparent``: under which further steps go; ``None``: none."""
        self.traceparent = traceparent

    def tell(self, **facts: Fact) -> None:
        """Add what is known of it by now."""

    def failed(self, why: str) -> None:
        """It did not come to what it was for."""


class Tracer:
    """Traces nothing, at the cost of a call."""

    @contextmanager
    def step(
        self,
        name: str,  # noqa: ARG002 -- this and what follows is for a tracer that traces
        parent: str | None,
        facts: Facts,  # noqa: ARG002
        *,
        began: Moment | None = None,  # noqa: ARG002
        calls: bool = False,  # noqa: ARG002
    ) -> Iterator[Span]:
        """A step from here, or from when it ``began``, to the end of the block, under the traceparent ``parent``.

        ``calls``: it calls somebody outside.
        """
        yield Span(parent)

    def past(self, name: str, parent: str | None, began: Moment, facts: Facts) -> None:
        """A step that has ended now, of which nobody could say before what it belongs to."""

    def close(self) -> None:
        """Send what is still here, as far as it takes no time to speak of."""
