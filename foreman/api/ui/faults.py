"""Errors as the page shows them; everywhere else they are what ``problems.py`` makes of them."""

from __future__ import annotations

import falcon

from foreman.api import problems
from foreman.api.ui.browser import SIGN_IN, is_page
from foreman.api.ui.pages import send_page
from foreman.api.ui.sign_in import send_sign_in


def serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Write an error's body: below ``/ui`` a page, and the form to sign in where that is what is missing."""
    if not is_page(req.path):
        problems.serialize(req, resp, error)
        return
    kind = problems.kind_of(error)
    resp.set_header("Cache-Control", "no-store")
    if kind is SIGN_IN:
        send_sign_in(req, resp, back=req.path)
    else:
        send_page(
            req,
            resp,
            "fault.html",
            title=kind.title,
            detail=error.description or kind.detail,
            problems=error.problems if isinstance(error, problems.HTTPProblem) else (),
            status=error.status,
        )
