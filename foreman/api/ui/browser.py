"""What guards the page: its headers, the browser's token, and that a form comes from the page itself.

All of it is middleware, so that a route below ``/ui`` that somebody adds is guarded without thinking of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import falcon
from falcon import uri

from foreman import clock
from foreman.api.body import read_bytes
from foreman.api.page import POLICY
from foreman.api.problems import BAD_MEDIA_TYPE, HTTPProblem, Kind
from foreman.domain.api_key import ANYBODY, Caller
from foreman.domain.session import LIFE_MS, form_token, is_from_page, is_sent, is_token

SIGN_IN = Kind("sign-in", HTTPStatus.UNAUTHORIZED, "Sign in", "An API key is required.")
FOREIGN_FORM = Kind(
    "foreign-form",
    HTTPStatus.FORBIDDEN,
    "The form was not sent by this page, or is too old",
    "Nothing was done. Load the page again, and send it from there.",
)
BAD_FORM = Kind("bad-form", HTTPStatus.BAD_REQUEST, "The form cannot be read", "The fields must be UTF-8.")

ROOT = "/ui"

#: The cookie with the browser's token. It is sent below ``/ui`` alone: nothing else of the API ever looks at it.
COOKIE = "foreman_ui"

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with it browsers call the origin of a form "null". No other site is told anything all the same.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: For whoever comes from another site: it asks for the same again, from here, and so with the cookie.
ARRIVAL = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    b'<link rel="icon" href="data:,"><title>foreman</title><main><h1>foreman</h1><a href="">Go on</a></main></html>'
)

_FORM = "application/x-www-form-urlencoded"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: The field in which forms carry their token.
TOKEN_FIELD = "form_token"  # noqa: S105  (the name of a field)


def is_page(path: str) -> bool:
    """Whether a path is of the page: routes are found with any number of slashes before them."""
    path = "/" + path.lstrip("/")
    return path == ROOT or path.startswith(f"{ROOT}/")


@dataclass(frozen=True, slots=True)
class Browser:
    """Falcon middleware."""

    public_url: str
    max_body_b: int

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Find the browser's token, or make one; or have it ask once more, if it may not have sent what it has."""
        if not is_page(req.path):
            return
        given = next(iter(req.get_cookie_values(COOKIE) or ()), None)
        req.context.given_token = req.context.token = given if is_token(given) else None
        if req.context.token is None and _comes_from_elsewhere(req):
            resp.content_type = falcon.MEDIA_HTML
            resp.data = ARRIVAL
            resp.complete = True
        elif req.context.token is None:
            req.context.token = clock.new_secret()

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Read a form, and believe it only if it comes from a page of ours.

        Raises:
            HTTPProblem: 403, or 400 and such if it cannot be read.
        """
        if not is_page(req.path) or req.method in _SAFE:
            return
        ours = is_from_page(
            fetch_site=req.get_header("Sec-Fetch-Site"),
            origin=req.get_header("Origin"),
            host=req.netloc,
            public_url=self.public_url,
        )
        if not ours:
            raise HTTPProblem(FOREIGN_FORM)
        form = self._form(req)
        if not is_sent(req.context.given_token, form.pop(TOKEN_FIELD, "")):
            raise HTTPProblem(FOREIGN_FORM)
        req.context.form = form

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Set the headers of every answer below ``/ui``, and the cookie where the browser has another or none."""
        if not is_page(req.path):
            return
        for name, value in HEADERS.items():
            resp.set_header(name, value)
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
        if req.context.token != req.context.given_token:
            resp.set_cookie(
                COOKIE,
                req.context.token,
                max_age=LIFE_MS // 1000,
                path=ROOT,
                secure=urlsplit(self.public_url).scheme == "https",
                http_only=True,
                same_site="Strict",
            )

    def _form(self, req: falcon.Request) -> dict[str, str]:
        """The fields of the body, each once: of several with one name the last counts."""
        if (req.content_type or "").partition(";")[0].strip().lower() != _FORM:
            raise HTTPProblem(BAD_MEDIA_TYPE, f"Content-Type must be {_FORM}.")
        try:
            fields = uri.parse_query_string(read_bytes(req, self.max_body_b).decode(), keep_blank=True)
        except UnicodeDecodeError:
            raise HTTPProblem(BAD_FORM) from None
        return {name: each if isinstance(each, str) else each[-1] for name, each in fields.items()}


def _comes_from_elsewhere(req: falcon.Request) -> bool:
    """Whether somebody followed a link of another site: their browser keeps a strict cookie back then."""
    site, mode = req.get_header("Sec-Fetch-Site"), req.get_header("Sec-Fetch-Mode")
    return req.method == "GET" and mode == "navigate" and site in {"cross-site", "same-site"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, as its frame shows it."""

    #: Whether somebody is signed in, and can sign out.
    signed_in: bool
    #: Whether the pages of an operator are theirs to see.
    sees_all: bool
    #: Whether there is anything to see: not for who has yet to sign in.
    is_in: bool
    form_token: str


def visitor_of(req: falcon.Request) -> Visitor:
    """Who sent a request for a page; it may not have passed the gate."""
    caller: Caller | None = getattr(req.context, "caller", None)
    return Visitor(
        signed_in=caller is not None and caller is not ANYBODY,
        sees_all=caller is not None and caller.sees_all,
        is_in=caller is not None,
        form_token=form_token(req.context.token),
    )


def form_of(req: falcon.Request) -> dict[str, str]:
    """The fields of the form that ``Browser`` has let through."""
    form: dict[str, str] = req.context.form
    return form


def keep_token(req: falcon.Request, token: str) -> None:
    """Give the browser this token with the answer."""
    req.context.token = token
