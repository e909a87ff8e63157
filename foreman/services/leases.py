"""Keeps a claim alive while its run goes on, and ends the run when the claim is lost or the process must stop."""

from __future__ import annotations

import threading
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


@dataclass(frozen=True, slots=True)
class LeaseKeeper:
    """Renews claims three times in a lease, so that two renewals in a row may fail."""

    claims: Claims
    lease_s: float
    #: Set when the process is asked to stop; runs have ``grace_s`` from then on.
    stopping: threading.Event
    grace_s: float

    @contextmanager
    def keep(self, claim: Claim) -> Iterator[Held]:
        """Keep ``claim`` alive inside the block; set ``cut`` on the value as soon as there is something to cut."""
        held = Held()
        over = threading.Event()
        name = f"lease-{claim.job.id}"
        thread = threading.Thread(target=self._watch, args=(claim, held, over), name=name, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            over.set()
            thread.join()

    def _watch(self, claim: Claim, held: Held, over: threading.Event) -> None:
        renew_at = clock.monotonic() + self.lease_s / 3
        stop_at: float | None = None
        while not over.wait(LOOK_S):
            if clock.monotonic() >= renew_at:
                renew_at = clock.monotonic() + self.lease_s / 3
                self._renew(claim, held)
            if stop_at is None and self.stopping.is_set():
                stop_at = clock.monotonic() + self.grace_s
            held.handed_back = held.handed_back or (stop_at is not None and clock.monotonic() >= stop_at)
            held.cancelled = held.cancelled or self._is_cancelled(claim)
            if held.over:
                # Repeated until the run ends: the first cut may come just before there is a connection.
                held.cut()

    def _renew(self, claim: Claim, held: Held) -> None:
        try:
            self.claims.renew(claim, clock.now())
        except StaleLease:
            log.warning("lease lost", job_id=claim.job.id)
            held.lost = True
        except StoreUnavailable:
            log.warning("lease not renewed: database unavailable", job_id=claim.job.id)

    def _is_cancelled(self, claim: Claim) -> bool:
        try:
            return self.claims.wanted(claim) is not None
        except StoreUnavailable:
            return False
