"""Answers that are HTML: whole pages, and pieces of them that a page asks for again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import falcon
from markupsafe import Markup

from foreman.api.ui import renderer
from foreman.api.ui.browser import visitor_of

#: Seconds between two looks of a page at what it shows.
POLL_S = 2

#: The parameter by which a page says what it has of a piece.
SEEN = "seen"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a page, what belongs to it further down, and what tells both from the same with other content."""

    html: Markup
    aside: Markup
    seen: str


def piece(
    template: str,
    path: str,
    given: Mapping[str, str],
    *,
    aside: str | None = None,
    live: bool = True,
    **values: Any,  # noqa: ANN401
) -> Piece:
    """The piece that ``path`` with the parameters ``given`` answers; unless ``live`` it is not asked for again."""
    inner = renderer.html(template, **values)
    beside = Markup() if aside is None else renderer.html(aside, **values)
    seen = hashlib.sha256(renderer.encoded(inner + beside)).hexdigest()[:16]
    url = address(path, {**given, SEEN: seen})
    return Piece(renderer.html("piece.html", inner=inner, url=url, live=live, poll_s=POLL_S), beside, seen)


def send_page(req: falcon.Request, resp: falcon.Response, template: str, **values: Any) -> None:  # noqa: ANN401
    """Answer with a whole page."""
    resp.content_type = falcon.MEDIA_HTML
    resp.data = renderer.encoded(renderer.html(template, visitor=visitor_of(req), path=req.path, **values))


def send_piece(req: falcon.Request, resp: falcon.Response, shown: Piece) -> None:
    """Answer with a piece, or 204 if the page has it as it is: then nothing is swapped, and no focus lost."""
    if req.params.get(SEEN) == shown.seen:
        resp.status = HTTPStatus.NO_CONTENT
        return
    resp.content_type = falcon.MEDIA_HTML
    resp.data = renderer.encoded(shown.html + shown.aside)


def address(path: str, given: Mapping[str, str]) -> str:
    """A path with these parameters."""
    return f"{path}?{urlencode(given)}" if given else path


def redirect(path: str) -> falcon.HTTPStatus:
    """To be raised after a form: 303, so that going back or loading again does not send it again."""
    return falcon.HTTPStatus(HTTPStatus.SEE_OTHER, headers={"Location": path})
