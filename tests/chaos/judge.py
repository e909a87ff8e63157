"""What a run has broken of foreman's promises, from what the receiver saw and what the database says. Decides only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: State → its place in a job's life.
RANK = {"queued": 1, "loading": 2, "working": 3, "done": 4, "failed": 4}

#: The states that a job does not leave.
ENDED = frozenset({"done", "failed"})

#: An event: its job, and its place among that job's events.
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that the receiver has read whole. Seconds are of one monotonic clock."""

    path: str
    event_id: str
    job_id: str
    sequence: int
    state: str
    attempt: int
    #: SHA-256 of the body.
    digest: str
    came_at_s: float
    #: What was answered, and when; None: the connection was dropped instead.
    status: int | None
    answered_at_s: float | None

    @property
    def key(self) -> Key:
        """Its event."""
        return self.job_id, self.sequence

    @property
    def accepted(self) -> bool:
        """Whether the receiver said so; the sender may not have heard it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the receiver said that it wants this event again."""
        return self.status is not None and not self.accepted


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job as the database has it after the run: its states in order, and whether its completion is stored."""

    job_id: str
    state: str
    error_code: str | None
    reached: tuple[str, ...]
    stored: bool


@dataclass(frozen=True, slots=True)
class EventEnd:
    """An event as the database has it after the run."""

    job_id: str
    sequence: int
    state: str
    status: str


@dataclass(frozen=True, slots=True)
class Try:
    """A row of ``attempts``; ``status`` is None if the sender does not know what the receiver said."""

    job_id: str
    sequence: int
    attempt: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is judged."""

    #: Jobs that a client was told the id of.
    acknowledged: Sequence[str]
    jobs: Sequence[JobEnd]
    events: Sequence[EventEnd]
    tries: Sequence[Try]
    #: In the order in which they came.
    arrivals: Sequence[Arrival]
    #: A job and the states in which one client saw it, in the order of asking.
    seen: Sequence[tuple[str, Sequence[str]]] = ()
    #: The path that events are to be sent to.
    path: str = "/hook"
    #: Requests at once that the upstream allows, and the most that it got; None: not to be judged.
    slots: int | None = None
    most_at_once: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is broken, a line each by kind (none: all promises were kept), and the figures."""

    violations: Mapping[str, tuple[str, ...]]
    jobs: int
    events: int
    arrivals: int
    #: Arrivals of an event beyond the first that the receiver did not refuse.
    duplicates: int
    #: Tries whose outcome the sender does not know.
    unknown: int

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.violations.values())

    def broken(self, kind: str) -> int:
        """How often this promise was."""
        return len(self.violations[kind])

    def __str__(self) -> str:
        figures = f"{self.jobs} jobs, {self.events} events, {self.arrivals} requests"
        found = ", ".join(f"{len(lines)} {kind}" for kind, lines in self.violations.items())
        told = [f"  {kind}: {line}" for kind, lines in self.violations.items() for line in lines[:5]]
        return "\n".join([f"{figures}; {found}; {self.duplicates} duplicates, {self.unknown} unknown outcomes", *told])


def judge(evidence: Evidence) -> Verdict:
    """Hold the evidence against the promises; it must have been gathered after everything came to rest."""
    of_event: dict[Key, list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        of_event[arrival.key].append(arrival)
    unknown: dict[Key, int] = defaultdict(int)
    for each in evidence.tries:
        unknown[each.job_id, each.sequence] += each.status is None
    extra = {key: max(0, sum(not each.refused for each in came) - 1) for key, came in of_event.items()}
    found = {
        "lost": _lost(evidence, of_event),
        "doubled": _doubled(evidence),
        "unended": _unended(evidence),
        "failed": (f"{job.job_id} {job.error_code}" for job in evidence.jobs if job.state == "failed"),
        "reordered": _reordered(evidence, of_event),
        "duplicated": (
            f"{key} {count} times over, {unknown[key]} unknown" for key, count in extra.items() if count > unknown[key]
        ),
        "repeated": _repeated(evidence),
        "altered": (str(key) for key, came in of_event.items() if len({each.digest for each in came}) > 1),
        "backward": _backward(evidence),
        "strayed": (f"{each.event_id} at {each.path}" for each in evidence.arrivals if each.path != evidence.path),
        "crowded": _crowded(evidence),
    }
    return Verdict(
        violations={kind: tuple(lines) for kind, lines in found.items()},
        jobs=len(evidence.jobs),
        events=len(of_event),
        arrivals=len(evidence.arrivals),
        duplicates=sum(extra.values()),
        unknown=sum(unknown.values()),
    )


def _lost(evidence: Evidence, of_event: Mapping[Key, Sequence[Arrival]]) -> Iterator[str]:
    """Acknowledged jobs that are not there, completions, and reached states that were not accepted by the receiver."""
    known = {job.job_id for job in evidence.jobs}
    yield from (f"job {job_id}" for job_id in evidence.acknowledged if job_id not in known)
    status = {(each.job_id, each.state): each for each in evidence.events}
    for job in evidence.jobs:
        if job.state == "done" and not job.stored:
            yield f"the completion of {job.job_id}, which is done"
        for state in job.reached:
            event = status.get((job.job_id, state))
            if event is None:
                yield f"{job.job_id}-{state} was never written"
            elif event.status != "delivered":
                yield f"{job.job_id}-{state} is {event.status}"
            elif not any(each.accepted for each in of_event.get((job.job_id, event.sequence), ())):
                yield f"{job.job_id}-{state} is delivered and never came"


def _doubled(evidence: Evidence) -> Iterator[str]:
    """Jobs that no client knows of, though every submission was repeated until it was answered."""
    known = frozenset(evidence.acknowledged)
    return (f"job {job.job_id}" for job in evidence.jobs if job.job_id not in known)


def _unended(evidence: Evidence) -> Iterator[str]:
    return (f"{job.job_id} is {job.state}" for job in evidence.jobs if job.state not in ENDED)


def _reordered(evidence: Evidence, of_event: Mapping[Key, Sequence[Arrival]]) -> Iterator[str]:
    """Events that came for the first time before the receiver had accepted the one before."""
    for event in evidence.events:
        came, before = of_event.get((event.job_id, event.sequence)), of_event.get((event.job_id, event.sequence - 1))
        if not came or event.sequence == 1:
            continue
        accepted = [each.answered_at_s for each in before or () if each.accepted and each.answered_at_s is not None]
        if not accepted or came[0].came_at_s < min(accepted):
            yield f"{event.job_id} {event.sequence} came before {event.sequence - 1} was accepted"


def _repeated(evidence: Evidence) -> Iterator[str]:
    """Tries that were sent twice, or begun after one that is known to have been accepted."""
    sent: set[tuple[str, int, int]] = set()
    for each in evidence.arrivals:
        this = (each.job_id, each.sequence, each.attempt)
        if this in sent:
            yield f"try {this} came twice"
        sent.add(this)
    done: dict[Key, int] = {}
    for row in sorted(evidence.tries, key=lambda each: (each.job_id, each.sequence, each.attempt)):
        key = row.job_id, row.sequence
        if key in done:
            yield f"try {row.attempt} of {key} after try {done[key]} was accepted"
        elif row.status is not None and 200 <= row.status < 300:
            done[key] = row.attempt


def _backward(evidence: Evidence) -> Iterator[str]:
    """Jobs that a client saw step back, and events out of their place."""
    for job_id, states in evidence.seen:
        ranks = [RANK[state] for state in states]
        if ranks != sorted(ranks):
            yield f"{job_id} was seen {' '.join(states)}"
    for each in evidence.arrivals:
        if each.state != "failed" and RANK[each.state] != each.sequence:
            yield f"{each.event_id} is number {each.sequence}"


def _crowded(evidence: Evidence) -> Iterable[str]:
    if evidence.slots is None or evidence.most_at_once <= evidence.slots:
        return ()
    return (f"{evidence.most_at_once} requests at once for {evidence.slots} slots",)
