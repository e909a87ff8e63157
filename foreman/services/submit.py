"""Accepts a job: once it is committed the promise stands, and the messages after that are only hints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foreman import clock, logs

if TYPE_CHECKING:
    from foreman.domain.api_key import Caller
    from foreman.domain.job import JobRequest
    from foreman.queue.announcer import Announcer
    from foreman.store.arrivals import Submitted
    from foreman.store.jobs import Jobs
    from foreman.traces import Tracer


@dataclass(frozen=True, slots=True)
class Submitter:
    """``POST /jobs``, less HTTP."""

    jobs: Jobs
    announcer: Announcer
    tracer: Tracer

    def in_passing(self) -> Submitter:
        """One whose caller is told of nothing before the job works, which is another commit and takes this along."""
        return replace(self, jobs=replace(self.jobs, durable=False))

    def submit(self, request: JobRequest, key: str | None, caller: Caller) -> Submitted:
        """Commit the caller's job (or find the one that ``key`` made), then wake whoever runs and announces it.

        Raises:
            IdempotencyConflict, QueueFull, AllowanceUsedUp, StoreUnavailable: nothing was accepted.
        """
        came_with = request.came_with
        with self.tracer.step("submit", came_with.traceparent, {"model": request.model}) as span:
            now = clock.now()
            # All that becomes of the job is part of this step's trace.
            traced = replace(request, came_with=replace(came_with, traceparent=span.traceparent))
            # While Redis is away nobody waits for whoever finds out whether it is back.
            tell = None if self.announcer.messenger.broken else self.announcer.accepted
            submitted = self.jobs.submit(traced, job_id=clock.new_id(now), key=key, now=now, caller=caller, tell=tell)
            logs.bind(job_id=submitted.job.id)
            span.tell(job_id=submitted.job.id, replayed=submitted.replayed)
            if tell is None and not submitted.replayed:
                self.announcer.accepted([submitted.job])
            return submitted
