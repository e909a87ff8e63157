"""The upstreams as all processes share them: slots in use, holds, and what the last probe found.

Only those that the settings name are looked at; a row of one that they no longer name is left where it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from peewee import fn

from foreman.domain.job import JobFailure, Moment, Priority
from foreman.domain.lifecycle import Cause
from foreman.domain.upstream import Slots, Standing, Survey
from foreman.store.database import locked, read, write
from foreman.store.models import JobRow, UpstreamRow
from foreman.store.prepared import Statement
from foreman.store.rows import error_columns, failure_from_row, to_text


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The upstreams table, for whoever looks at it or probes what it is about."""

    slots: tuple[Slots, ...]

    def standings(self) -> list[Standing]:
        """How each upstream stands, in the order of the settings.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        with read():
            return _standings(self.slots, {row.name: row for row in _named(tuple(_names(self.slots))).rows()})

    def record(self, found: Mapping[str, Survey | JobFailure], at: Moment) -> list[Standing]:
        """Keep what probes found; returns how those upstreams stood before.

        One that is back is held no longer, nor are its jobs.

        Raises:
            StoreUnavailable: nothing was kept.
        """
        with write():
            before = [each for each in lock(self.slots) if each.name in found]
            for each in before:
                what = found[each.name]
                UpstreamRow.update(_columns(what, at)).where(UpstreamRow.name == each.name).execute()
                if each.is_back(what):
                    release(each.name)
                    _bring_forward(each, at)
            return before


def lock(slots: Sequence[Slots]) -> list[Standing]:
    """How each upstream stands, within the caller's write transaction, which nobody else's can run beside.

    Rows are made where they are missing; on PostgreSQL locking them is what lets one claim in at a time.
    """
    names = _names(slots)
    rows = _lock(names)
    if len(rows) < len(names):
        UpstreamRow.insert_many([{"name": name} for name in names]).on_conflict_ignore().execute()
        rows = _lock(names)
    return _standings(slots, rows)


def release(name: str) -> None:
    """End an upstream's hold, within the caller's transaction."""
    UpstreamRow.update(failures=0, held_until=0, held_for=None).where(UpstreamRow.name == name).execute()


def _bring_forward(held: Standing, at: Moment) -> None:
    """Make the jobs ready that wait for the end of a hold: they were refused, and are tried again no earlier."""
    # Ranges of the index over (priority, ready_at), and only of what lies ahead: jobs between two runs.
    waiting = JobRow.priority.in_([int(each) for each in Priority]) & JobRow.ready_at.between(at + 1, held.held_until)
    theirs = JobRow.select(JobRow.id).where(waiting & (JobRow.avoided == held.name))
    # In the order of their ids, as whoever else locks many jobs: no two wait in a ring.
    found = locked(theirs.order_by(JobRow.id))
    JobRow.update({"ready_at": at, "version": JobRow.version + 1}).where(JobRow.id.in_(found)).execute()


def _names(slots: Sequence[Slots]) -> list[str]:
    return sorted(each.upstream for each in slots)


def _lock(names: Sequence[str]) -> dict[str, UpstreamRow]:
    return {row.name: row for row in _locked(tuple(names)).rows()}


@cache
def _named(names: tuple[str, ...]) -> Statement:
    return Statement(lambda _: UpstreamRow.select().where(UpstreamRow.name.in_(names)))


@cache
def _locked(names: tuple[str, ...]) -> Statement:
    rows = UpstreamRow.select().where(UpstreamRow.name.in_(names)).order_by(UpstreamRow.name)
    return Statement(lambda _: locked(rows))


_USED = Statement(
    lambda _: (
        JobRow.select(JobRow.upstream, fn.COUNT(JobRow.id).alias("used"))
        .where(JobRow.lease_until.is_null(is_null=False))
        .group_by(JobRow.upstream)
    )
)


def _standings(slots: Sequence[Slots], rows: Mapping[str, Any]) -> list[Standing]:
    in_use = {str(row.upstream): int(row.used) for row in _USED.rows()}
    return [
        _standing(each, rows[each.upstream], in_use.get(each.upstream, 0)) if each.upstream in rows else Standing(each)
        for each in slots
    ]


def _standing(slots: Slots, row: Any, in_use: int) -> Standing:  # noqa: ANN401  (a prepared statement's row)
    return Standing(
        slots=slots,
        used=in_use,
        model=row.model,
        streak=row.streak,
        failures=row.failures,
        held_until=row.held_until,
        held_for=None if row.held_for is None else Cause(row.held_for),
        checked_at=row.checked_at,
        error=failure_from_row(row),
        survey=Survey(
            available=None if row.available is None else tuple(json.loads(row.available)),
            loaded=() if row.loaded is None else tuple(json.loads(row.loaded)),
        ),
    )


def _columns(found: Survey | JobFailure, at: Moment) -> dict[str, Any]:
    """The columns that a probe changes: one that failed leaves what was known of the models, but not of the memory."""
    if isinstance(found, JobFailure):
        return {"checked_at": at, "loaded": None, **error_columns(found)}
    available = None if found.available is None else to_text(found.available)
    nothing_wrong = {"error_code": None, "error_message": None, "error_status": None}
    return {"checked_at": at, "available": available, "loaded": to_text(found.loaded), **nothing_wrong}
