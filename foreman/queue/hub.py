"""Follows the live streams of many jobs for many followers, with one thread and one Redis connection per process.

The hub asks for everything at once, with one blocking XREAD. Followers of a job that are at the same place in its
stream share that place, so that an entry is read once however many there are.

``$namespace:live-wake:$hub``
    A stream of at most one entry, read with the jobs': an entry ends the hub's wait, because there is a new place to
    read from.
"""

from __future__ import annotations

import logging
import threading
from typing import TypeAlias

import redis

from foreman import clock
from foreman.queue.broker import WakingRedisBroker
from foreman.queue.follower import Ended, Entry, Follower, Page, Place
from foreman.queue.live import Kind, key
from foreman.queue.outage import Outage

_logger = logging.getLogger(__name__)

#: Entries read from a job's stream at once.
_PAGE = 100

#: Milliseconds that a read waits for an entry: half of what the client waits for a reply. A wake-up that was lost
#: delays a new follower by no more.
_BLOCK_MS = 500

#: Seconds that the hub rests for each follower that it gave something to: with five hundred followers of fifty entries
#: a second each, they and the hub took 80 % of a core (measured), with this 36 %, and entries come 50 ms later. For a
#: single follower it is nothing: its next entry is 20 ms away.
_REST_S = 0.0001

#: First and longest pause, in seconds, between looks for a Redis that is away; doubled each time.
_RECONNECT_MIN_S, _RECONNECT_MAX_S = 0.05, 1.0

#: Seconds that Redis keeps a wake-up.
_WAKE_LIFE_S = 60

#: An entry and a stream's part of a reply, as redis-py gives them.
_Found: TypeAlias = tuple[bytes, dict[bytes, bytes]]
_Reply: TypeAlias = tuple[bytes, list[_Found]]


class Hub:
    """One per web process. It survives Redis: followers hear nothing meanwhile, and go on where they were.

    Safe to create before a fork: the thread starts with the first follower.
    """

    def __init__(self, broker: WakingRedisBroker) -> None:
        self._broker = broker
        self._prefix = key(broker.namespace, "")
        self._wake_key = f"{broker.namespace}:live-wake:{clock.new_id()}"
        self._wake_id: str | bytes = "0"
        self._changed = threading.Condition()
        #: Who is at which place of which job.
        self._followers: dict[tuple[str, Place], set[Follower]] = {}
        self._resting: set[Follower] = set()
        #: Whether the thread is reading, or about to, from the places that it knew of.
        self._reading = False
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._outage = Outage(_logger, "Followers hear nothing of their jobs; the database has it")

    def follow(self, job_id: str, after: str | None = None) -> Follower:
        """A follower of the job, from just after the entry whose ``id`` is ``after``; ``None``: from the first entry.

        Where entries are missing, at the beginning too, it gets a gap. Of a job whose end is before ``after`` it hears
        nothing at all.
        """
        follower = Follower(job_id, Place.parse(after), leave=self._leave, wake=self._wake)
        with self._changed:
            self._add(follower)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="live-hub", daemon=True)
                self._thread.start()
        self._wake()
        return follower

    def _leave(self, follower: Follower) -> None:
        """Read no more for this follower."""
        with self._changed:
            self._resting.discard(follower)
            at = (follower.job_id, follower.place)
            group = self._followers.get(at, set())
            group.discard(follower)
            if not group:
                self._followers.pop(at, None)

    def _wake(self) -> None:
        """Have the thread look at who is to be read for; where Redis is away, it does when it is back."""
        with self._changed:
            self._changed.notify_all()
            if not self._reading:
                return
            self._reading = False  # one wake-up is enough for all who come now
        try:
            pipeline = self._broker.client.pipeline(transaction=False)
            pipeline.xadd(self._wake_key, {"wake": "1"}, maxlen=1, approximate=False)
            pipeline.expire(self._wake_key, _WAKE_LIFE_S)
            pipeline.execute()
        except redis.RedisError as error:
            self._outage.began(error)

    def close(self) -> None:
        """End the thread; followers hear nothing any more."""
        self._closed.set()
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        pause_s = _RECONNECT_MIN_S
        while True:
            places = self._places()
            if self._closed.is_set():
                return
            try:
                replies = self._read(places)
            except redis.RedisError as error:
                self._outage.began(error)
                self._closed.wait(pause_s)
                pause_s = min(pause_s * 2, _RECONNECT_MAX_S)
            else:
                self._outage.ended()
                pause_s = _RECONNECT_MIN_S
                if given := self._give(places, replies):
                    self._closed.wait(given * _REST_S)

    def _places(self) -> list[tuple[str, Place]]:
        """What to read from next, of each job the latest place first; waits until somebody follows."""
        with self._changed:
            self._reading = False
            self._changed.wait_for(lambda: self._followers or self._resting or self._closed.is_set())
            for follower in [follower for follower in self._resting if follower.ready()]:
                self._resting.discard(follower)
                follower.resting = False
                self._add(follower)
            self._reading = True
            return sorted(self._followers, reverse=True)

    def _add(self, follower: Follower) -> None:
        self._followers.setdefault((follower.job_id, follower.place), set()).add(follower)

    def _read(self, places: list[tuple[str, Place]]) -> list[_Reply]:
        keys = [self._wake_key, *(self._prefix + job_id for job_id, _ in places)]
        ids = [self._wake_id, *(f"{at.ms}-{at.seq}" for _, at in places)]
        # Not `xread`, whose argument is a dict: of a job with followers at two places, the stream is named twice.
        replies: list[_Reply] = self._broker.client.execute_command(
            "XREAD", "COUNT", _PAGE, "BLOCK", _BLOCK_MS, "STREAMS", *keys, *ids
        )
        return replies

    def _give(self, places: list[tuple[str, Place]], replies: list[_Reply]) -> int:
        """Hand out what was read; how many followers got something."""
        given = 0
        asked: dict[str, list[Place]] = {}
        for job_id, at in places:
            asked.setdefault(job_id, []).append(at)
        with self._changed:
            # Where there is something new after a place, there is after every earlier one of that job. Read backwards,
            # the replies for one stream so belong to the earliest place, the next, and so on, as far as they go.
            for name, found in reversed(replies):
                stream = name.decode()
                if stream == self._wake_key:
                    self._wake_id = found[-1][0]
                else:
                    job_id = stream.removeprefix(self._prefix)
                    given += self._turn(job_id, asked[job_id].pop(), found)
        return given

    def _turn(self, job_id: str, at: Place, found: list[_Found]) -> int:
        page, end = _page(at, found)
        followers = self._followers.pop((job_id, at), set())
        for follower in followers:
            if not follower.offer(page):
                follower.resting = True
                self._resting.add(follower)
            elif not isinstance(page[-1], Ended):
                follower.place = end
                self._add(follower)
        return len(followers)


def _page(at: Place, found: list[_Found]) -> tuple[Page, Place]:
    """The entries that were ``found`` after the place ``at``, and the place after them."""
    page: list[Entry | Ended] = []
    for stream_id, fields in found:
        ms, seq = stream_id.split(b"-")
        number = int(fields[b"n"])
        kind = Kind(fields[b"type"].decode())
        if number != at.number + 1 and kind is not Kind.GAP:
            page.append(Entry(str(at), Kind.GAP, b"{}"))
        at = Place(int(ms), int(seq), number)
        page.append(Entry(str(at), kind, fields[b"data"]))
        if b"end" in fields:
            page.append(Ended())
    return page, at
