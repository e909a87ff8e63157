"""Signing in with an API key, and out again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman.api.ui.browser import ROOT, form_of, keep_token
from foreman.api.ui.pages import redirect, send_page
from foreman.clock import new_secret
from foreman.services.authenticate import Authenticator

#: Where somebody may be led after signing in: a page of ours, and nothing that a browser could take for another site.
_BACK = re.compile(rf"{ROOT}(/[A-Za-z0-9]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignInResource:
    """``/ui/login``. Without an ``authenticator`` there is nothing to sign in to."""

    authenticator: Authenticator | None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the form."""
        if self.authenticator is None:
            raise redirect(ROOT)
        send_sign_in(req, resp, back=ROOT)

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin a session with a new token: one that the browser had before, somebody else may have given it."""
        form = form_of(req)
        back = _back(form.get("back", ""))
        if self.authenticator is not None:
            token = self.authenticator.sign_in(form.get("key", "").strip())
            if token is None:
                resp.status = HTTPStatus.UNAUTHORIZED
                resp.set_header("WWW-Authenticate", "Bearer")
                send_sign_in(req, resp, back=back, refused=True)
                return
            keep_token(req, token)
        raise redirect(back)


@dataclass(frozen=True, slots=True)
class SignOutResource:
    """``/ui/logout``."""

    authenticator: Authenticator | None

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """End the session, and give the browser a token that was never signed in."""
        if self.authenticator is not None:
            self.authenticator.sign_out(req.context.token)
            keep_token(req, new_secret())
        raise redirect(f"{ROOT}/login")


def send_sign_in(req: falcon.Request, resp: falcon.Response, *, back: str, refused: bool = False) -> None:
    """Show the form; ``back`` is the page to go to afterwards."""
    send_page(req, resp, "sign_in.html", back=_back(back), refused=refused)


def _back(path: str) -> str:
    return path if _BACK.fullmatch(path) else ROOT
