"""Which job runs next, and on which upstream: a pure choice over what the store offers.

Priority comes first. Within it the model that an upstream has in memory goes on, since a swap costs it minutes of many
runs, until another model's oldest job has waited ``max_wait_s`` or ``max_streak`` jobs have run in a row: then age
decides. So the waiting is bounded and so are the swaps, where a queue by age alone bounds only the one and draining a
model only the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from foreman.domain.job import Moment, Priority


@dataclass(frozen=True, slots=True)
class Candidate:
    """The job of one priority and one model that has been ready longest."""

    job_id: str
    priority: Priority
    model: str
    ready_at: Moment


@dataclass(frozen=True, slots=True)
class Policy:
    """``schedule.max_wait_s`` in milliseconds, and ``schedule.max_streak``."""

    max_wait_ms: int
    max_streak: int


@dataclass(frozen=True, slots=True)
class Server:
    """An upstream with a free slot: ``models`` it may be asked for (names or ``*`` patterns; none: any)."""

    name: str
    models: tuple[str, ...]
    #: The model of the job that it was given last, which is in its memory; ``None`` before the first.
    model: str | None
    #: Jobs in a row that it was given for that model.
    streak: int

    def can_run(self, model: str) -> bool:
        """Whether it may be asked for ``model``; a name without a tag means ``:latest``, as to Ollama."""
        return not self.models or any(fnmatchcase(_tagged(model), _tagged(pattern)) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class Choice:
    """Give ``job`` to ``server``; ``warm`` when its model is in memory there."""

    server: Server
    job: Candidate
    warm: bool


def choose(servers: Iterable[Server], candidates: Sequence[Candidate], policy: Policy, now: Moment) -> Choice | None:
    """The best use of a free slot; ``None`` when no server can run any of the candidates.

    Over several servers: the highest priority, then a model that is in memory, then age, then a server without one.
    """
    choices = [choice for server in servers if (choice := _for_server(server, candidates, policy, now))]
    return min(choices, key=_preference, default=None)


def _for_server(server: Server, candidates: Sequence[Candidate], policy: Policy, now: Moment) -> Choice | None:
    able = [each for each in candidates if server.can_run(each.model)]
    if not able:
        return None
    first = min(each.priority for each in able)
    level = [each for each in able if each.priority == first]
    oldest = min(level, key=_age)
    warm = next((each for each in level if each.model == server.model), None)
    if warm is None or warm is oldest:
        return Choice(server, oldest, warm is oldest)
    if now - oldest.ready_at >= policy.max_wait_ms:
        return Choice(server, oldest, warm=False)
    if server.streak >= policy.max_streak:
        return Choice(server, min((each for each in level if each is not warm), key=_age), warm=False)
    return Choice(server, warm, warm=True)


def _preference(choice: Choice) -> tuple[Priority, bool, Moment, str, bool, str]:
    swaps = not choice.warm and choice.server.model is not None
    return (choice.job.priority, not choice.warm, *_age(choice.job), swaps, choice.server.name)


def _age(candidate: Candidate) -> tuple[Moment, str]:
    return (candidate.ready_at, candidate.job_id)


def _tagged(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] or "*" in model else f"{model}:latest"
