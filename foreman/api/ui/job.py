"""``/ui/jobs/{id}``: one job, with what it says while it lives, and all that was told to its receiver."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import falcon

from foreman import clock
from foreman.api.query import job_id_of
from foreman.api.ui import transcript
from foreman.api.ui.browser import ROOT
from foreman.api.ui.pages import Piece, piece, redirect, send_page, send_piece
from foreman.api.ui.snapshots import Snapshots
from foreman.api.ui.transcript import Message
from foreman.api.view import COMPLETION, PARTIAL, JobView
from foreman.api.waiting import WaitingRoom
from foreman.domain import timeline
from foreman.domain.job import Artifact, Job
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.timeline import Sent
from foreman.errors import EventNotFound, JobNotFound, JobTerminal
from foreman.services.cancel import Canceller
from foreman.services.redeliver import Redeliverer
from foreman.store.deliveries import Deliveries, Try
from foreman.store.events import EventStatus

#: Tries that are shown. A schedule has 26 for all five events; more come from sending again.
MOST_TRIES = 200

#: Seconds that a cancelled run is waited for before its job is shown again.
WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Folder:
    """A job as a piece of a page, shared by all who look at it."""

    view: JobView
    deliveries: Deliveries
    snapshots: Snapshots[Piece]

    def piece(self, job_id: str, *, now: bool = False) -> Piece:
        """The job as it was a moment ago, or is ``now``.

        Raises:
            JobNotFound, JobGone, StoreUnavailable: there is nothing to show.
        """
        find = self.snapshots.anew if now else self.snapshots.get
        return find(job_id, lambda: self._look(job_id))

    def _look(self, job_id: str) -> Piece:
        now = clock.now()
        job = self.view.jobs.get(job_id)
        events = self.view.events.of(job_id) if job.webhook is not None else ()
        tries = self.deliveries.tries(job_id, now, after=None, limit=MOST_TRIES) if events else []
        live = job.state not in TERMINAL
        run = timeline.of_run(job, now)
        return piece(
            "job_piece.html",
            f"{ROOT}/jobs/{job_id}/status",
            {},
            aside="job_aside.html",
            live=live or any(each.status == "pending" for each in events),
            job=job,
            is_live=live,
            outlook=self.view.line.outlook(job, now),
            run=run,
            sent=timeline.of_deliveries(run, [_sent(each) for each in tries], now),
            events=[_event(each, tries) for each in events],
            cut=len(tries) == MOST_TRIES,
            artifacts=() if live else self.view.artifacts.of(job_id),
            figures=transcript.figures_of(job.stats),
        )


@dataclass(frozen=True, slots=True)
class JobPageResource:
    """The page, and the piece of it that is asked for again."""

    folder: Folder

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show the page."""
        view = self.folder.view
        job = view.jobs.get(job_id_of(job_id))
        payload = view.jobs.payload(job.id)
        artifacts = view.artifacts.of(job.id) if job.state in TERMINAL else ()
        send_page(
            req,
            resp,
            "job.html",
            job=job,
            is_live=job.state not in TERMINAL,
            shown=self.folder.piece(job.id, now=True),
            request=None if payload is None else transcript.request_of(payload),
            answer=self._answer(job, artifacts),
            is_large=bool(artifacts) and artifacts[0].size_b > view.inline_limit_b,
        )

    def on_get_status(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show the piece."""
        send_piece(req, resp, self.folder.piece(job_id_of(job_id)))

    on_head = on_get
    on_head_status = on_get_status

    def _answer(self, job: Job, artifacts: Sequence[Artifact]) -> Message | None:
        """What the model said, in whole or until it was stopped."""
        view = self.folder.view
        if (completion := view.inline(job, artifacts, COMPLETION)) is not None:
            return transcript.answer_of(completion)
        partial = view.inline(job, artifacts, PARTIAL)
        return None if partial is None else Message("assistant", partial.decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class CancelButton:
    """``POST /ui/jobs/{id}/cancel``."""

    canceller: Canceller
    view: JobView
    waiting: WaitingRoom

    def on_post(self, _req: falcon.Request, _resp: falcon.Response, job_id: str) -> None:
        """Cancel the job and show it; one that has ended meanwhile is shown as it is."""
        job_id = job_id_of(job_id)
        with contextlib.suppress(JobTerminal):
            try:
                job = self.canceller.cancel(job_id)
            except JobNotFound:
                # What is gone is told from what never was.
                job = self.view.jobs.get(job_id)
            if job.state not in TERMINAL:
                self.waiting.until_ended(job_id, WAIT_S)
        raise redirect(f"{ROOT}/jobs/{job_id}")


@dataclass(frozen=True, slots=True)
class RedeliverButton:
    """``POST /ui/jobs/{id}/deliveries/{state}/redeliver``."""

    view: JobView
    redeliverer: Redeliverer

    def on_post(self, _req: falcon.Request, _resp: falcon.Response, job_id: str, state: str) -> None:
        """Send the event again, and show the job."""
        job = self.view.jobs.get(job_id_of(job_id))
        if state not in frozenset(State):
            raise EventNotFound(job.id, state)
        self.redeliverer.redeliver(job.id, State(state))
        raise redirect(f"{ROOT}/jobs/{job.id}#deliveries")


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event and its tries."""

    status: EventStatus
    tries: tuple[Try, ...]


def _event(status: EventStatus, tries: Sequence[Try]) -> ShownEvent:
    return ShownEvent(status, tuple(each for each in tries if each.state is status.state))


def _sent(made: Try) -> Sent:
    return Sent(made.state, made.at, made.duration_ms, made.outcome)
