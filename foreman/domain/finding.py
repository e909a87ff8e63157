"""What ``foreman doctor`` makes of what it saw: is it well, and if not, what is the cause and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from foreman.domain.endpoint import Endpoint
from foreman.domain.job import Moment
from foreman.domain.schedule import Server
from foreman.domain.upstream import Survey

#: Milliseconds between two clocks. More, and running jobs are taken for lost: a lease is written by one and judged by
#: another. As ``TOLERANCE_MS`` of a setback.
CLOCK_WRONG_MS = 10_000
#: Milliseconds that NTP keeps clocks within by a wide margin: it usually does so to some tens.
CLOCK_DOUBTFUL_MS = 1_000

#: Bytes free. SQLite's log, Valkey's rewriting of its file and the largest completion (64 MiB) need room for a while.
DISK_LOW_B = 1 << 30
DISK_FULL_B = 128 << 20

#: What an upstream of each kind does, and something else on its port does not.
_LISTS = {"ollama": "GET /api/tags", "openai": "GET /v1/models"}


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: foreman runs, and somebody should know.
    WARNING = "warning"
    #: foreman does not run, or not as it should.
    PROBLEM = "problem"


#: What the name of a check begins with, in the order in which they are told: what the later ones need comes first.
ORDER = ("settings", "database", "keys", "broker", "upstream", "webhooks", "clock", "disk", "artifacts", "port")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` says what to do, and is empty where nothing is to be done."""

    check: str
    level: Level
    detail: str
    remedy: str = ""

    @property
    def place(self) -> int:
        """Where it is told among others."""
        return ORDER.index(self.check.partition(" ")[0])


def clock(offset_ms: Moment, whose: str) -> Finding:
    """``offset_ms``: how far this machine's clock is ahead of ``whose``."""
    if abs(offset_ms) < CLOCK_DOUBTFUL_MS:
        return Finding("clock", Level.OK, f"within {CLOCK_DOUBTFUL_MS / 1000:g} s of {whose}")
    level = Level.PROBLEM if abs(offset_ms) > CLOCK_WRONG_MS else Level.WARNING
    told = f"this machine's clock is {_span(offset_ms)} {'ahead of' if offset_ms > 0 else 'behind'} {whose}"
    return Finding("clock", level, told, "set both by NTP: timedatectl set-ntp true")


def setback(now: Moment, seen_at: Moment | None, what: str) -> Finding | None:
    """Whether the clock stands before ``what`` happened, at ``seen_at``; ``None``: it does not."""
    if seen_at is None or seen_at - now <= CLOCK_WRONG_MS:
        return None
    told = f"this machine's clock is {_span(seen_at - now)} behind {what}"
    remedy = "set it by NTP: timedatectl set-ntp true. If it is right now, leave it: the next sweep moves what waits"
    return Finding("clock", Level.PROBLEM, told, remedy)


def models(endpoint: Endpoint, survey: Survey) -> Finding:
    """Whether an upstream that answers has models, and those that it is there for."""
    check = f"upstream {endpoint.name}"
    if survey.available is None:
        told = "answers, and does not say which models it has: it may be something else"
        advice = f"see that {_LISTS[endpoint.kind]} lists its models there, or correct {endpoint.setting}.url or .kind"
        return Finding(check, Level.WARNING, told, advice)
    if not survey.available:
        advice = "ollama pull llama3.2, on its machine" if endpoint.kind == "ollama" else "start it with a model"
        return Finding(check, Level.PROBLEM, "answers, and has no models", advice)
    if endpoint.models and not _has_any(endpoint, survey.available):
        told = f"has none of the models that it may be asked for ({', '.join(endpoint.models)})"
        return Finding(check, Level.PROBLEM, told, f"pull one of them, or change {endpoint.setting}.models")
    loaded = f", {len(survey.loaded)} in memory" if survey.loaded else ""
    return Finding(check, Level.OK, f"answers, {len(survey.available)} models{loaded}: {_some(survey.available)}")


def disk(place: str, free_b: int) -> Finding:
    """Whether there is room where the state is kept."""
    told = f"{place} can be written, {free_b / (1 << 30):.1f} GiB free"
    if free_b >= DISK_LOW_B:
        return Finding("disk", Level.OK, told)
    level = Level.PROBLEM if free_b < DISK_FULL_B else Level.WARNING
    return Finding("disk", level, told, "free space there, shorten jobs.ttl_s, or move data.dir")


def _has_any(endpoint: Endpoint, available: Sequence[str]) -> bool:
    server = Server(endpoint.name, endpoint.models, model=None, streak=0)
    return any(server.allows(each) for each in available)


def _some(names: Sequence[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _span(milliseconds: int) -> str:
    return f"{abs(milliseconds) / 1000:,.0f} s"
