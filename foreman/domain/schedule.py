"""Which job runs next, and on which upstream: a pure choice over what the store offers.

Priority comes first. Within it the model that an upstream has in memory goes on, since a swap costs it minutes of many
runs, until another model's oldest job has waited ``max_wait_s`` or ``max_streak`` jobs have run in a row: then age
decides. So the waiting is bounded and so are the swaps, where a queue by age alone bounds only the one and draining a
model only the other. Where jobs for the model in memory are overdue as well, there is more work than the bound can be
kept for: then the models take turns of ``max_streak`` jobs, since a swap for each job would only add to the waiting.

Which upstreams a job may go to at all is a matter of its model alone: see ``homes``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase

from foreman.domain.job import Moment, Priority


@dataclass(frozen=True, slots=True)
class Candidate:
    """The job of one priority and one model that has been ready longest."""

    job_id: str
    priority: Priority
    model: str
    ready_at: Moment
    #: The upstream that failed its last run: any other goes first.
    avoided: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """``schedule.max_wait_s`` in milliseconds, and ``schedule.max_streak``."""

    max_wait_ms: int
    max_streak: int


class Reach(IntEnum):
    """How sure it is that an upstream can run a model; the lower the surer."""

    #: It lists the model, or the operator named it among the upstream's.
    LISTED = 0
    #: It may be asked for any, and does not say what it has.
    UNKNOWN = 1
    #: What it has is known, and the model is not among it.
    UNLISTED = 2


@dataclass(frozen=True, slots=True)
class Server:
    """An upstream: ``models`` it may be asked for (names or ``*`` patterns; none: any)."""

    name: str
    models: tuple[str, ...]
    #: The model of the job that it was given last, which is in its memory; ``None`` before the first.
    model: str | None
    #: Jobs in a row that it was given for models in its memory.
    streak: int
    #: Whether it may be given a job now: a slot is free, and it is not held.
    free: bool = True
    #: How much of its slots is in use, 0 to 1.
    load: float = 0.0
    #: It did not answer when it was last looked at.
    down: bool = False
    #: Full names of the models that it has; ``None``: it does not say.
    available: frozenset[str] | None = None
    #: Full names of the models that are in its memory besides ``model``.
    loaded: frozenset[str] = frozenset()

    def allows(self, model: str) -> bool:
        """Whether it may be asked for ``model``; a name without a tag means ``:latest``, as to Ollama."""
        return not self.models or any(fnmatchcase(_tagged(model), _tagged(pattern)) for pattern in self.models)

    def reach(self, model: str) -> Reach | None:
        """How sure it is that it can run ``model``; ``None``: it may not be asked for it."""
        if not self.allows(model):
            return None
        if self.available is None:
            return Reach.LISTED if self.models else Reach.UNKNOWN
        return Reach.LISTED if full_name(model) in self.available else Reach.UNLISTED

    def has_in_memory(self, model: str) -> bool:
        """Whether a job for ``model`` could begin without a load."""
        return model == self.model or (bool(self.loaded) and full_name(model) in self.loaded)


@dataclass(frozen=True, slots=True)
class Choice:
    """Give ``job`` to ``server``; ``warm`` when its model is in memory there."""

    server: Server
    job: Candidate
    warm: bool


def homes(servers: Iterable[Server], model: str) -> list[Server]:
    """The upstreams that a job for ``model`` may go to, free or not; none: no upstream may be asked for it.

    Those that have the model, as far as is known. Where none has, all that may be asked for it: an upstream's own word
    that there is no such model is the better one. Those that are down are left out as long as one of the others is not;
    a model that only they have waits for them, rather than fail elsewhere.
    """
    reached = [(reach, server) for server in servers if (reach := server.reach(model)) is not None]
    surest = min((reach for reach, _ in reached), default=None)
    return well([server for reach, server in reached if reach is surest])


def well(servers: Iterable[Server]) -> list[Server]:
    """Those that are not down; all of them if they all are."""
    found = list(servers)
    return [server for server in found if not server.down] or found


def preferred(servers: Iterable[Server], model: str) -> list[Server]:
    """The homes of ``model``, the best first, for a request that takes no slot."""
    return sorted(
        homes(servers, model), key=lambda each: (not each.has_in_memory(model), not each.free, each.load, each.name)
    )


def takers(servers: Iterable[Server], candidate: Candidate) -> list[Server]:
    """The upstreams that may be given the job now; the one that failed it only if there is no other."""
    free = [server for server in homes(servers, candidate.model) if server.free]
    return [server for server in free if server.name != candidate.avoided] or free


def choose(servers: Sequence[Server], candidates: Sequence[Candidate], policy: Policy, now: Moment) -> Choice | None:
    """The best use of a free slot of ``servers``, which are all there are; ``None`` when there is no use for any.

    Over several: the highest priority, then a model that is in memory, then age, then a server without a model, then
    the one with the most room.
    """
    goes_to = {each.job_id: {server.name for server in takers(servers, each)} for each in candidates}
    choices = []
    for server in servers:
        able = [each for each in candidates if server.name in goes_to[each.job_id]]
        if able:
            choices.append(_for_server(server, able, policy, now))
    return min(choices, key=_preference, default=None)


def _for_server(server: Server, able: Collection[Candidate], policy: Policy, now: Moment) -> Choice:
    first = min(each.priority for each in able)
    level = [each for each in able if each.priority == first]
    oldest = min(level, key=_age)
    warm = min((each for each in level if server.has_in_memory(each.model)), key=_age, default=None)
    if warm is None or warm is oldest:
        return Choice(server, oldest, warm is oldest)
    overdue_since = now - policy.max_wait_ms
    first_due = oldest.ready_at <= overdue_since < warm.ready_at
    by_age_alone = policy.max_wait_ms == 0
    if first_due or by_age_alone or server.streak >= policy.max_streak:
        return Choice(server, oldest, warm=False)
    return Choice(server, warm, warm=True)


def full_name(model: str) -> str:
    """The name under which Ollama keeps ``model``: with its tag, and in one case, since case means nothing to it."""
    return _tagged(model).casefold()


def _preference(choice: Choice) -> tuple[Priority, bool, Moment, str, bool, float, str]:
    server = choice.server
    swaps = not choice.warm and server.model is not None
    return (choice.job.priority, not choice.warm, *_age(choice.job), swaps, server.load, server.name)


def _age(candidate: Candidate) -> tuple[Moment, str]:
    return (candidate.ready_at, candidate.job_id)


def _tagged(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] or "*" in model else f"{model}:latest"
