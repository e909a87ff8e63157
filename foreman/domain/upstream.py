"""How an upstream stands: what its last probe found, what is in use of it, and what follows for its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from foreman.domain.job import JobFailure, Moment
from foreman.domain.lifecycle import Cause
from foreman.domain.schedule import Server, full_name, homes

#: Milliseconds for which what a probe found is taken to be so: twice the longest ``upstream.probe_interval_s``. After
#: that nobody has looked, and jobs go by what the operator named.
FRESH_MS = 60_000


class Status(StrEnum):
    """What an operator is told of an upstream in one word."""

    #: The last probe was answered.
    OK = "ok"
    #: It refused a job, or was too busy for one, and is left alone until ``held_until``.
    HELD = "held"
    #: The last probe was not answered, or with an error. Its jobs go elsewhere if they can.
    DOWN = "down"
    #: Nobody has looked, or not for a minute.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Slots:
    """An upstream as the claims know it: how many requests at once, for which models (names or patterns; none: any)."""

    upstream: str
    count: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What a probe found: the models there are (``None``: not told, or not all) and those in memory."""

    available: tuple[str, ...] | None = None
    loaded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One upstream, as all processes share it."""

    slots: Slots
    #: Slots in use.
    used: int = 0
    #: The model of the job that it was given last, and for how many jobs in a row nothing had to be loaded.
    model: str | None = None
    streak: int = 0
    #: Tries in a row that it did not take, until when it is held, and why.
    failures: int = 0
    held_until: Moment = 0
    held_for: Cause | None = None
    #: When it was last probed, and what was wrong; ``survey`` is what it last told, before that or then.
    checked_at: Moment | None = None
    error: JobFailure | None = None
    survey: Survey = Survey()

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.slots.upstream

    def is_fresh(self, now: Moment) -> bool:
        """Whether what the last probe found still counts."""
        return self.checked_at is not None and self.checked_at > now - FRESH_MS

    def status(self, now: Moment) -> Status:
        """How it is, in one word."""
        if self.is_fresh(now) and self.error is not None:
            return Status.DOWN
        if self.held_until > now:
            return Status.HELD
        return Status.OK if self.is_fresh(now) else Status.UNKNOWN

    def problem(self, now: Moment) -> JobFailure | None:
        """What is wrong with it, while something is."""
        match self.status(now):
            case Status.DOWN:
                return self.error
            case Status.HELD:
                return JobFailure(self.held_for or Cause.UPSTREAM_UNREACHABLE, "It did not take the last job.")
            case Status.OK | Status.UNKNOWN:
                return None

    def server(self, now: Moment) -> Server:
        """It, as jobs are given to it."""
        fresh = self.is_fresh(now)
        available = self.survey.available if fresh else None
        loaded = frozenset(map(full_name, self.survey.loaded)) if fresh else frozenset()
        # A list without the model that it was given last is older than that: what it names may have been pushed out.
        trusted = self.model is not None and full_name(self.model) in loaded
        return Server(
            name=self.name,
            models=self.slots.models,
            model=self.model,
            streak=self.streak,
            free=self.held_until <= now and self.used < self.slots.count,
            load=self.used / self.slots.count,
            down=self.status(now) is Status.DOWN,
            available=None if available is None else frozenset(map(full_name, available)),
            loaded=loaded if trusted or self.model is None else frozenset(),
        )

    def is_back(self, found: Survey | JobFailure) -> bool:
        """Whether a probe that ``found`` this ends its hold: it could not be reached, and now it can.

        One that was too busy answers probes all the same; its hold ends when it said.
        """
        return isinstance(found, Survey) and self.failures > 0 and self.held_for is Cause.UPSTREAM_UNREACHABLE


def servers(standings: Iterable[Standing], now: Moment) -> list[Server]:
    """All upstreams, as jobs are given to them."""
    return [each.server(now) for each in standings]


def next_try(standings: Sequence[Standing], model: str, now: Moment) -> Moment | None:
    """When a job for ``model`` can be tried next, going by holds alone; ``None``: no upstream may be asked for it."""
    held_until = {each.name: each.held_until for each in standings}
    return min((max(now, held_until[home.name]) for home in homes(servers(standings, now), model)), default=None)
