"""Keeps claims alive while their runs go on, and ends a run when its claim is lost or the process must stop."""

from __future__ import annotations

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
    """A claim that is kept, and when it is renewed next, monotonic seconds."""

    claim: Claim
    held: Held
    renew_at: float


class LeaseKeeper:
    """Renews claims three times in a lease, so that two renewals in a row may fail.

    One thread for all runs of a process: to start one for each took 4 % of a short run (measured), and a run that is
    over before the first look costs nothing so.
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
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, claim: Claim) -> Iterator[Held]:
        """Keep ``claim`` alive inside the block; set ``cut`` on the value as soon as there is something to cut."""
        kept = _Kept(claim, Held(), clock.monotonic() + self._lease_s / 3)
        key = f"{claim.job.id} {claim.token}"
        with self._lock:
            self._kept[key] = kept
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="leases", daemon=True)
                self._thread.start()
        try:
            yield kept.held
        finally:
            with self._lock:
                del self._kept[key]

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
            self._renew(kept.claim, held)
        held.handed_back = held.handed_back or (self._stop_at is not None and now >= self._stop_at)
        held.cancelled = held.cancelled or self._is_cancelled(kept.claim)
        if held.over:
            # Repeated until the run ends: the first cut may come just before there is a connection.
            held.cut()

    def _renew(self, claim: Claim, held: Held) -> None:
        try:
            self._claims.renew(claim, clock.now())
        except StaleLease:
            log.warning("lease lost", job_id=claim.job.id)
            held.lost = True
        except StoreUnavailable:
            log.warning("lease not renewed: database unavailable", job_id=claim.job.id)

    def _is_cancelled(self, claim: Claim) -> bool:
        try:
            return self._claims.wanted(claim) is not None
        except StoreUnavailable:
            return False
