"""What the tests of live text and states share: how a job is told of, and how a follower is read to the end."""

from __future__ import annotations

from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause, State
from foreman.queue.follower import Ended, Entry, Follower
from foreman.queue.live import Kind, Publisher
from tests.queues import PATIENCE_S

#: 2026-11-24T00:00:00Z, when everything in these tests happens.
AT = 1_795_478_400_000


def say(publisher: Publisher, job_id: str, *words: str) -> None:
    """A line of text for each word."""
    for word in words:
        publisher.text(job_id, line(word))


def tell(publisher: Publisher, job_id: str, state: State) -> None:
    """The job's first run reached ``state``."""
    failure = JobFailure(Cause.STALLED, "no byte for 300 s") if state is State.FAILED else None
    sequence = len(State) if state is State.FAILED else state.rank + 1
    publisher.state(job_id, state, at=AT, sequence=sequence, attempt=1, failure=failure)


def line(word: str) -> bytes:
    """The data of the entry that ``say`` makes of the word."""
    return b'{"message":{"content":"%s"}}' % word.encode()


def read(follower: Follower, count: int) -> list[Entry]:
    """The next ``count`` entries; fails where they are not there in ``PATIENCE_S``, or the job ends before."""
    entries: list[Entry] = []
    for _ in range(count):
        entry = follower.next(PATIENCE_S)
        assert isinstance(entry, Entry), f"{entry} after {entries[-3:]}"
        entries.append(entry)
    return entries


def read_to_end(follower: Follower) -> list[Entry]:
    """All that is left, to the end of the job."""
    entries: list[Entry] = []
    while not isinstance(entry := follower.next(PATIENCE_S), Ended):
        assert entry is not None, f"silence after {entries[-3:]}"
        entries.append(entry)
    return entries


def texts(entries: list[Entry]) -> list[bytes]:
    """What was said."""
    return [entry.data for entry in entries if entry.type is Kind.TEXT]


def types(entries: list[Entry]) -> list[str]:
    """Of what types they are."""
    return [str(entry.type) for entry in entries]
