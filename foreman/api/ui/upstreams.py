"""``/ui/upstreams``: the model servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import falcon

from foreman import clock
from foreman.api.ui.browser import ROOT
from foreman.api.ui.pages import Piece, piece, send_page, send_piece
from foreman.api.ui.snapshots import Snapshots
from foreman.store.upstreams import Upstreams

_PIECE = f"{ROOT}/upstreams/status"


@dataclass(frozen=True, slots=True)
class UpstreamsPage:
    """The page, and the piece of it that is asked for again."""

    upstreams: Upstreams
    #: What each speaks, by name.
    kinds: Mapping[str, str]
    snapshots: Snapshots[Piece]

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the page."""
        send_page(req, resp, "upstreams.html", shown=self._piece().html)

    def on_get_piece(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the piece."""
        send_piece(req, resp, self._piece())

    on_head = on_get
    on_head_piece = on_get_piece

    def _piece(self) -> Piece:
        return self.snapshots.get(_PIECE, self._look)

    def _look(self) -> Piece:
        standings = self.upstreams.standings()
        return piece("upstreams_piece.html", _PIECE, {}, standings=standings, kinds=self.kinds, now=clock.now())
