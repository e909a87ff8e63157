"""A job's life as bars: how long it waited, loaded and worked, and each try to tell its receiver.

Two pictures, since a run takes seconds, and its deliveries may go on for a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foreman.domain.delivery import Outcome
from foreman.domain.job import Job, Moment
from foreman.domain.lifecycle import TERMINAL, State

#: What a phase between two states is called.
_PHASES = {State.QUEUED: "waiting", State.LOADING: "loading", State.WORKING: "working"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took from ``start`` to ``end``, each a share of the picture from 0 to 1."""

    start: float
    end: float
    #: What it is: a phase, or an outcome.
    kind: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of a picture: a phase, or the tries of one event."""

    name: str
    bars: tuple[Bar, ...]
    #: Milliseconds that it took in all; of a phase that goes on, until now.
    took_ms: int
    #: Whether it goes on.
    open: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """A picture: from ``began_at`` on, ``span_ms`` wide, 1 at least."""

    began_at: Moment
    span_ms: int
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A try as it is drawn; ``took_ms`` None: it is not over, or nobody knows when it was."""

    state: State
    at: Moment
    took_ms: int | None
    outcome: Outcome


def of_run(job: Job, now: Moment) -> Timeline:
    """The phases that ``job`` has come to, in order; the last one of a live job goes on until ``now``."""
    live = job.state not in TERMINAL
    moments = [at for _, at in job.reached]
    end = max(now, moments[-1]) if live else moments[-1]
    edges = [*moments, end] if live else moments
    began, span = edges[0], max(1, edges[-1] - edges[0])
    lanes = []
    for number, (state, at) in enumerate(job.reached):
        if state in TERMINAL:
            break
        until = edges[number + 1]
        bar = Bar(_share(at - began, span), _share(until - began, span), _PHASES[state])
        lanes.append(Lane(_PHASES[state], (bar,), max(0, until - at), open=live and state is job.state))
    return Timeline(began, span, tuple(lanes))


def of_deliveries(run: Timeline, tries: Sequence[Sent], now: Moment) -> Timeline | None:
    """The tries of a job's events, a lane for each event, beginning with the ``run``; ``None``: there were none.

    As wide as the picture of the run, so that the two can be compared, unless the tries go on for longer.
    """
    if not tries:
        return None
    span = max(run.span_ms, *(_end(each, now) - run.began_at for each in tries))
    by_state = {state: [each for each in tries if each.state is state] for state in State}
    lanes = [_lane(state, sent, run.began_at, span, now) for state, sent in by_state.items() if sent]
    return Timeline(run.began_at, span, tuple(lanes))


def _lane(state: State, sent: Iterable[Sent], began: Moment, span: int, now: Moment) -> Lane:
    bars, first, last, is_open = [], None, began, False
    for each in sent:
        first = each.at if first is None else first
        last = _end(each, now)
        is_open = each.outcome is Outcome.IN_FLIGHT
        bars.append(Bar(_share(each.at - began, span), _share(last - began, span), str(each.outcome)))
    return Lane(str(state), tuple(bars), max(0, last - (last if first is None else first)), open=is_open)


def _end(sent: Sent, now: Moment) -> Moment:
    if sent.took_ms is not None:
        return sent.at + sent.took_ms
    return max(now, sent.at) if sent.outcome is Outcome.IN_FLIGHT else sent.at


def _share(part: int, whole: int) -> float:
    """Clocks of several machines may disagree: nothing is drawn outside of the picture."""
    return min(1.0, max(0.0, part / whole))
