"""``/ui``: how many jobs there are of each kind, and the jobs, newest first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import falcon

from foreman.api.gate import caller_of
from foreman.api.parameter import read_all
from foreman.api.query import JOBS, cursor_of, filter_from, job_id_of
from foreman.api.ui.browser import ROOT
from foreman.api.ui.pages import SEEN, Piece, address, piece, redirect, send_page, send_piece
from foreman.api.ui.snapshots import Snapshots
from foreman.domain.job import Priority
from foreman.domain.lifecycle import State
from foreman.store.jobs import Jobs
from foreman.store.overview import Overview

#: The field that looks for one job.
JOB = "job_id"


@dataclass(frozen=True, slots=True)
class Board:
    """The queue as a piece of a page, shared by all who look at the same."""

    jobs: Jobs
    overview: Overview
    snapshots: Snapshots[Piece]

    def piece(self, owner: str | None, given: dict[str, str], *, now: bool = False) -> Piece:
        """What ``owner`` (``None``: who sees all) is shown for the parameters ``given``, a moment old unless ``now``.

        Raises:
            HTTPProblem: 400, a parameter is wrong.
        """
        find = self.snapshots.anew if now else self.snapshots.get
        return find((owner, tuple(sorted(given.items()))), lambda: self._look(owner, given))

    def _look(self, owner: str | None, given: dict[str, str]) -> Piece:
        wanted = replace(filter_from(read_all(given, JOBS)), owner=owner)
        found = self.jobs.page(replace(wanted, limit=wanted.limit + 1))
        page = found[: wanted.limit]
        more = {**given, "cursor": cursor_of(page[-1].id)} if len(found) > len(page) else None
        first = {name: text for name, text in given.items() if name != "cursor"}
        return piece(
            "queue_piece.html",
            f"{ROOT}/queue",
            given,
            live="cursor" not in given,
            counts=self.overview.counts(owner),
            jobs=page,
            states=list(State),
            priorities=list(Priority),
            older=None if more is None else address(ROOT, more),
            newest=address(ROOT, first) if "cursor" in given else None,
            filtered=bool(first),
        )


@dataclass(frozen=True, slots=True)
class QueueResource:
    """The page, and the piece of it that is asked for again."""

    board: Board

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the page, or lead to the job that is looked for."""
        sought = req.params.get(JOB)
        if isinstance(sought, str) and sought:
            raise redirect(f"{ROOT}/jobs/{job_id_of(sought.strip())}")
        given = _given(req)
        shown = self.board.piece(caller_of(req).view, given, now=True)
        send_page(req, resp, "queue.html", shown=shown.html, given=given, states=list(State))

    def on_get_piece(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the piece."""
        send_piece(req, resp, self.board.piece(caller_of(req).view, _given(req)))

    on_head = on_get
    on_head_piece = on_get_piece


def _given(req: falcon.Request) -> dict[str, str]:
    """The parameters that say something: a form sends the fields that were left empty as well."""
    said = {name: text for name, text in req.params.items() if text and name not in {JOB, SEEN}}
    read_all(said, JOBS)
    return {name: text for name, text in said.items() if isinstance(text, str)}
