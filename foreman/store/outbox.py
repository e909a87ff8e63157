"""A move of a job and its announcement are one write: whoever commits the move has committed the event."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from foreman.domain.address import origin_of
from foreman.domain.event import event_body
from foreman.domain.lifecycle import TERMINAL, State, sources
from foreman.errors import StaleLease
from foreman.store.models import EventRow, JobRow
from foreman.store.prepared import Insertion, Statement
from foreman.store.rows import ENTERED, job_from_row, row_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreman.domain.job import Artifact, Job, Moment, Webhook


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the body of an event needs to know of this installation."""

    #: What artifact URLs start with, without a slash at the end.
    public_url: str
    #: Artifacts up to this size, in bytes, travel in the ``done`` event.
    inline_limit_b: int

    def move(
        self,
        job_id: str,
        after: State,
        at: Moment,
        *,
        token: int | None = None,
        artifacts: Sequence[Artifact] = (),
        **columns: Any,  # noqa: ANN401  (of each column's type)
    ) -> Job | None:
        """Move a job to ``after`` and write its event, within the caller's transaction.

        ``token`` is the lease under which the caller moves it; None moves it whoever holds it. ``columns`` are written
        with the state. Returns the job, or None when the job is not in a state that leads to ``after``.

        Raises:
            StaleLease: the lease ``token`` is no longer the job's; nothing was written.
        """
        statement = _move(after, tuple(sorted(columns)), fenced=token is not None)
        row = statement.first(job_id=job_id, at=at, token=token, **columns)
        if row is None:
            if token is not None:
                raise StaleLease(job_id)
            return None
        self.announce(row, artifacts)
        return job_from_row(row)

    def first_event(self, job: Job) -> Any:  # noqa: ANN401  (a row type that is made)
        """The row of the event that announces a job which is just being made; None for one without a webhook."""
        return None if job.webhook is None else self._event(job, job.webhook)

    def announce(self, row: JobRow, artifacts: Sequence[Artifact] = ()) -> None:
        """Write the event of the state that ``row`` is in; nothing for a job without a webhook."""
        job = job_from_row(row)
        if job.webhook is None:
            return
        waits = _PENDING.first(job_id=job.id) is not None
        EVENTS.execute([self._event(job, job.webhook, artifacts, stopped=row.webhook_stopped, waits=waits)])

    def _event(
        self,
        job: Job,
        webhook: Webhook,
        artifacts: Sequence[Artifact] = (),
        *,
        stopped: bool = False,
        waits: bool = False,
    ) -> Any:  # noqa: ANN401  (as above)
        """The event of the job's state; ``waits``: until an earlier one was delivered."""
        wanted = webhook.wants(job.state) and not stopped
        at = job.reached[-1][1]
        return _Event(
            job_id=job.id,
            sequence=len(job.reached),
            state=str(job.state),
            created_at=at,
            body=self._body(job, artifacts) if wanted else None,
            origin=origin_of(webhook.url),
            status="pending" if wanted else "skipped",
            next_attempt_at=at if wanted and not waits else None,
        )

    def _body(self, job: Job, artifacts: Sequence[Artifact]) -> bytes:
        return event_body(job, artifacts, public_url=self.public_url, inline_limit_b=self.inline_limit_b)


_PENDING = Statement(
    lambda given: (
        EventRow.select(EventRow.sequence)
        .where((EventRow.job_id == given.job_id) & (EventRow.status == "pending"))
        .limit(1)
    )
)

EVENTS = Insertion(EventRow)

_Event = row_type(EventRow)


@cache
def _move(after: State, columns: tuple[str, ...], *, fenced: bool) -> Statement:
    """The guarded UPDATE to ``after`` that also writes ``columns``; ``fenced``: only under the lease ``token``."""

    def build(given: Any) -> Any:  # noqa: ANN401  (peewee's queries are untyped)
        # Every move leads out of ``queued``, so a start deadline is met or missed by it.
        changes = {"state": str(after), "version": JobRow.version + 1, ENTERED[after]: given.at, "start_by": None}
        changes |= {name: getattr(given, name) for name in columns}
        if after in TERMINAL:
            # The job's ttl_s in milliseconds, a whole number on both engines.
            ttl_ms = (JobRow.ttl_s * 1000).cast("BIGINT")
            changes |= {"ready_at": None, "lease_until": None, "expires_at": given.at + ttl_ms}
        guard = (JobRow.id == given.job_id) & JobRow.state.in_(sorted(sources(after)))
        if fenced:
            guard &= (JobRow.lease_token == given.token) & JobRow.lease_until.is_null(is_null=False)
        return JobRow.update(changes).where(guard).returning(JobRow)

    return Statement(build)
