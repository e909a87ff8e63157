"""Whether a key's allowance leaves room for one more job, decided so that no two submissions can both have the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peewee import SQL

from foreman.domain.api_key import Caller
from foreman.domain.job import Moment
from foreman.domain.lifecycle import State
from foreman.errors import TooManyQueued, TooManySubmissions
from foreman.store.database import locked
from foreman.store.models import ApiKeyRow, JobRow

#: Milliseconds over which ``per_minute`` counts.
MINUTE_MS = 60_000


def owned(owner: str) -> Any:  # noqa: ANN401  (peewee's expressions are untyped)
    """The condition that jobs are those of a key, with the words that tell the engines of the partial indexes."""
    return (JobRow.owner == owner) & (JobRow.owner != SQL("''"))


def check(caller: Caller, now: Moment, drain_s: Callable[[Moment], int]) -> None:
    """Refuse if the caller has as many jobs as its key allows, within the transaction that would add another.

    ``drain_s`` tells in how many seconds one queued job should have left. Only kept jobs are counted: one that was
    deleted or pruned within its first minute no longer counts for ``per_minute``.

    Raises:
        TooManyQueued, TooManySubmissions: nothing may be added.
    """
    allowance = caller.allowance
    if not allowance.is_counted:
        return
    # One submission of a key at a time: on PostgreSQL two would both see the last place free.
    locked(ApiKeyRow.select(ApiKeyRow.id).where(ApiKeyRow.id == caller.owner)).first()
    mine = owned(caller.owner)
    if allowance.max_queued is not None:
        queued = JobRow.select(JobRow.id).where(mine & (JobRow.state == SQL(f"'{State.QUEUED}'")))
        if queued.limit(allowance.max_queued).count() >= allowance.max_queued:
            raise TooManyQueued(allowance.max_queued, drain_s(now))
    if allowance.per_minute is not None:
        # Of the newest ``per_minute`` jobs the oldest: once it is a minute old, there is room for another.
        newest = JobRow.select(JobRow.created_at).where(mine).order_by(JobRow.id.desc())
        oldest = newest.offset(allowance.per_minute - 1).limit(1).scalar()
        if oldest is not None and (wait_ms := int(oldest) + MINUTE_MS - now) > 0:
            raise TooManySubmissions(allowance.per_minute, -(-wait_ms // 1000))
