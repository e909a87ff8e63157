"""Keeps claims alive while their runs go on, and ends a run when its claim is lost or the process must stop."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.errors import StaleLease, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreman.domain.job import Claim
    from foreman.store.claims import Claims

log = logs.get_logger(__name__)

#: How often a run looks whether it must end, seconds: a cancelled job must be over within 2, and a look is one read.
LOOK_S = 0.5

#: Part of a lease after which a run ends that could not renew it. The slot is given to another when all of it is over,
#: by another machine's clock: the rest is for clocks that differ, and for the upstream to notice that nobody listens.
SAFE_PART = 0.8


@dataclass(slots=True)
class Held:
    """A claim that is being kept alive. ``cut`` is called, from another thread, when the run must end at once."""

    cut: Callable[[], None] = field(default=lambda: None)
    lost: bool = False
    handed_back: bool = False
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether the run must end, for whatever reason."""
        return self.lost or self.handed_back or self.cancelled


@dataclass(slots=True)
class _Kept:
    """A claim that is kept. Times are monotonic seconds."""

    claim: Claim
    held: Held
    #: When it is renewed next.
    renew_at: float
    #: When its run must have ended, unless it is renewed before.
    safe_until: float


class LeaseKeeper:
    """Renews claims three times in a lease, so that two renewals in a row may fail; if all do, the run is cut in time.

    One thread for all runs of a process: to start one for each took 4 % of a short run (measured), and a run that is
    over before the first look costs nothing so. Another cuts runs: a worker that is cut off from the database is not
    cut off from the upstream, and the first one may wait for the database for longer than a lease.
    """

    def __init__(self, claims: Claims, lease_s: float, stopping: threading.Event, grace_s: float) -> None:
        """``stopping`` is set when the process is asked to stop; runs have ``grace_s`` from then on."""
        self._claims = claims
        self._lease_s = lease_s
        self._stopping = stopping
        self._grace_s = grace_s
        self._stop_at: float | None = None
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._threads: tuple[threading.Thread, ...] = ()

    @contextmanager
    def keep(self, claim: Claim, asked_at: float) -> Iterator[Held]:
        """Keep ``claim`` alive inside the block; set ``cut`` on the value as soon as there is something to cut.

        ``asked_at``: when the claim was asked for, monotonic seconds; its lease began no earlier.
        """
        kept = _Kept(claim, Held(), clock.monotonic() + self._lease_s / 3, asked_at + self._lease_s * SAFE_PART)
        key = f"{claim.job.id} {claim.token}"
        with self._lock:
            self._kept[key] = kept
            self._start_threads()
        try:
            yield kept.held
        finally:
            with self._lock:
                del self._kept[key]

    def _start_threads(self) -> None:
        """Unless they run: a forked process has none of its parent's."""
        if not self._threads or not all(each.is_alive() for each in self._threads):
            named = {"leases": self._watch, "lease guard": self._guard}
            self._threads = tuple(threading.Thread(target=run, name=name, daemon=True) for name, run in named.items())
            for each in self._threads:
                each.start()

    def _guard(self) -> None:
        while True:
            now = clock.monotonic()
            with self._lock:
                all_kept = list(self._kept.values())
            for kept in all_kept:
                if now >= kept.safe_until:
                    _give_up(kept)
            soonest = min((kept.safe_until for kept in all_kept if not kept.held.lost), default=math.inf)
            # No lease that begins meanwhile ends within a look.
            time.sleep(min(LOOK_S, max(0.0, soonest - now)))

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            if self._stop_at is None and self._stopping.is_set():
                self._stop_at = clock.monotonic() + self._grace_s
            with self._lock:
                all_kept = list(self._kept.items())
            for key, kept in all_kept:
                if key in self._kept:
                    self._look(kept)

    def _look(self, kept: _Kept) -> None:
        held, now = kept.held, clock.monotonic()
        if now >= kept.renew_at:
            kept.renew_at = now + self._lease_s / 3
            self._renew(kept)
        held.handed_back = held.handed_back or (self._stop_at is not None and now >= self._stop_at)
        held.cancelled = held.cancelled or self._is_cancelled(kept.claim)
        if held.over:
            # Repeated until the run ends: the first cut may come just before there is a connection.
            held.cut()

    def _renew(self, kept: _Kept) -> None:
        asked_at = clock.monotonic()
        try:
            self._claims.renew(kept.claim, clock.now())
            kept.safe_until = asked_at + self._lease_s * SAFE_PART
        except StaleLease:
            log.warning("lease lost", job_id=kept.claim.job.id)
            kept.held.lost = True
        except StoreUnavailable:
            log.warning("lease not renewed: database unavailable", job_id=kept.claim.job.id)

    def _is_cancelled(self, claim: Claim) -> bool:
        try:
            return self._claims.wanted(claim) is not None
        except StoreUnavailable:
            return False


def _give_up(kept: _Kept) -> None:
    if not kept.held.lost:
        log.warning("lease could not be renewed in time", job_id=kept.claim.job.id)
    kept.held.lost = True
    kept.held.cut()
