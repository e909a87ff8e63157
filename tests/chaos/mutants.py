"""Bugs that foreman must not have, to be put into a running process: the suite is worth something if it finds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import urllib3

from foreman.domain.delivery import Attempt
from foreman.store.database import write
from foreman.store.jobs import LOCK
from foreman.store.models import EventRow, JobRow

#: From a function to the one that takes its place.
Change = Callable[[Callable[..., Any]], Callable[..., Any]]

#: Seconds of a redirected request.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: which functions (``package.module:Class.name``) are replaced, and by what."""

    name: str
    changes: Mapping[str, Change]


def _all_due(old: Callable[..., Any]) -> Callable[..., Any]:
    """Every event is due at once, and not only the job's first pending one."""

    def announce(self: Any, row: Any, *args: Any) -> None:
        old(self, row, *args)
        waits = (EventRow.job_id == row.id) & (EventRow.status == "pending") & EventRow.next_attempt_at.is_null()
        EventRow.update(next_attempt_at=EventRow.created_at).where(waits).execute()

    return announce


def _nobodys_turn(_old: Callable[..., Any]) -> Callable[..., Any]:
    """And the end of a try takes it from none of them."""

    def pass_turn(_job_id: str, _now: int) -> None:
        """Leave all as they are."""

    return pass_turn


def _unfenced(old: Callable[..., Any]) -> Callable[..., Any]:
    """The outcome of a try is written whoever holds the event, and whatever came of it meanwhile."""

    def record(self: Any, sending: Any, attempt: Any, decision: Any, now: int, *then: Any) -> Any:
        with write():
            this = (EventRow.job_id == sending.job_id) & (EventRow.sequence == sending.sequence)
            EventRow.update(lease_until=now, status="pending").where(this).execute()
            token = EventRow.select(EventRow.lease_token).where(this).scalar()
            return old(self, replace(sending, token=token), attempt, decision, now, *then)

    return record


def _anybodys(_old: Callable[..., Any]) -> Callable[..., Any]:
    """What a run has come to is written whoever holds the job, and whatever became of it meanwhile."""

    def update(claim: Any, **columns: Any) -> None:
        JobRow.update(columns).where(JobRow.id == claim.job.id).execute()

    return update


def _unguarded(_old: Callable[..., Any]) -> Callable[..., Any]:
    """And nobody cuts a run whose lease is over."""

    def give_up(_kept: Any) -> None:
        """Let it go on."""

    return give_up


_late = threading.local()


def _announced_later(old: Callable[..., Any]) -> Callable[..., Any]:
    """The event is not written with the transition."""

    def announce(self: Any, row: Any, *args: Any) -> None:
        if not hasattr(_late, "events"):
            _late.events = []

        def insert() -> None:
            LOCK.first(job_id=row.id)  # as the transition does: only the commit between the two is the bug
            old(self, row, *args)

        _late.events.append(insert)

    return announce


def _announced_after(old: Callable[..., Any]) -> Callable[..., Any]:
    """It is written in a transaction of its own, after the transition's."""

    @contextmanager
    def writer(self: Any, *args: Any) -> Iterator[None]:
        with old(self, *args):
            yield
        events, _late.events = getattr(_late, "events", []), []
        for insert in events:
            with write():
                insert()

    return writer


def _redirected(_old: Callable[..., Any]) -> Callable[..., Any]:
    """A try goes where the receiver sends it."""

    def send(_self: Any, url: str, headers: Mapping[str, str], body: bytes, *_kept: Any) -> Attempt:
        answer = urllib3.request("POST", url, body=body, headers=dict(headers), timeout=_PATIENCE_S)
        return Attempt(answer.status, None, None, "", 0)

    return send


_ANNOUNCE = "foreman.store.outbox:Outbox.announce"

MUTANTS: Mapping[str, Mutant] = {
    each.name: each
    for each in (
        Mutant("head-of-line-off", {_ANNOUNCE: _all_due, "foreman.store.events:pass_turn": _nobodys_turn}),
        Mutant(
            "fencing-off",
            {
                "foreman.store.events:Events.record": _unfenced,
                "foreman.store.claims:_update": _anybodys,
                "foreman.services.leases:_give_up": _unguarded,
            },
        ),
        Mutant(
            "commit-then-insert",
            {
                _ANNOUNCE: _announced_later,
                "foreman.store.database:SqliteStore.writer": _announced_after,
                "foreman.store.database:PostgresStore.writer": _announced_after,
            },
        ),
        Mutant("redirects-on", {"foreman.net.webhooks:WebhookSender.send": _redirected}),
    )
}
