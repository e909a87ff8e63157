"""Who may ask what: one look at the API key before every request, and at whose job it is before every one of a job.

Every route needs a key, except those in ``OPEN`` and the files that pages are made of. The routes in ``SHARED`` and
those of one job are for every key, each with its own jobs; all others, and those that are yet to be written, are for
admin keys.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import falcon

from foreman.api import assets, greeting, passthrough
from foreman.api.access import JOB
from foreman.api.asked import came_with
from foreman.api.problems import NO_KEY, NOT_ADMIN, HTTPProblem
from foreman.api.query import job_id_of
from foreman.api.ui.browser import ROOT, SIGN_IN, is_page
from foreman.domain.api_key import ANYBODY, Caller, within
from foreman.domain.job import JobRequest
from foreman.errors import JobNotFound
from foreman.services.authenticate import Authenticator
from foreman.store.jobs import Jobs

#: Where whoever has yet to show a key on the page does so.
SIGN_IN_PATH = f"{ROOT}/login"

#: Asked by supervisors, load balancers and readers, which have no key; the answers tell nothing of anybody's jobs.
OPEN = frozenset({greeting.PATH, "/healthz", "/readyz", "/openapi.json", "/docs", SIGN_IN_PATH})

#: Routes, as they are added to the app, that heed whose jobs they show or tell nothing of jobs.
SHARED = frozenset(
    {
        "/jobs",
        "/api/chat",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{model:path}",
        *passthrough.PATHS["GET"],
        *passthrough.PATHS["POST"],
        ROOT,
        f"{ROOT}/queue",
        f"{ROOT}/submit",
        f"{ROOT}/logout",
    }
)


class Gate:
    """Falcon middleware. Without an ``authenticator`` no key is wanted, and one that is sent is not looked at."""

    def __init__(self, authenticator: Authenticator | None, jobs: Jobs) -> None:
        self._authenticator = authenticator
        self._jobs = jobs

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Find out who asks, before anything else of the request is looked at.

        Raises:
            HTTPProblem: 401.
            StoreUnavailable: it cannot be told now.
        """
        if self._authenticator is None:
            req.context.caller = ANYBODY
        elif not is_open(req.path):
            find = self._signed_in if is_page(req.path) else self._authenticated
            req.context.caller = find(self._authenticator, req)

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, params: dict[str, Any]
    ) -> None:
        """Let nobody at another's job, or at what is not for every key.

        Raises:
            JobNotFound: it is another's, which looks like one that never was.
            HTTPProblem: 403.
        """
        if is_open(req.path) or caller_of(req).sees_all:
            return
        if JOB in params:
            job_id = job_id_of(params[JOB])
            if self._jobs.owner(job_id) != caller_of(req).owner:
                raise JobNotFound(job_id)
        elif req.uri_template not in SHARED:
            raise HTTPProblem(NOT_ADMIN)

    @staticmethod
    def _authenticated(authenticator: Authenticator, req: falcon.Request) -> Caller:
        authorization = req.get_header("Authorization")
        caller = None if authorization is None else authenticator.caller(authorization)
        if caller is not None:
            return caller
        # RFC 6750 section 3: who sent nothing is told no error.
        challenge = "Bearer" if authorization is None else 'Bearer error="invalid_token"'
        raise HTTPProblem(NO_KEY, headers={"WWW-Authenticate": challenge})

    @staticmethod
    def _signed_in(authenticator: Authenticator, req: falcon.Request) -> Caller:
        """On the page a key is shown once; a header is not looked at, and elsewhere no cookie is."""
        token = req.context.given_token
        caller = None if token is None else authenticator.signed_in(token)
        if caller is None:
            raise HTTPProblem(SIGN_IN, headers={"WWW-Authenticate": "Bearer"})
        return caller


def is_open(path: str) -> bool:
    """Whether ``path`` may be asked for without a key."""
    return path in OPEN or path.startswith(assets.PREFIX)


def caller_of(req: falcon.Request) -> Caller:
    """Who sent a request that has passed the gate."""
    caller: Caller = req.context.caller
    return caller


def admitted(req: falcon.Request, request: JobRequest, body: object) -> JobRequest:
    """``request``, which was read from ``body``, as whoever sent it may submit it, with what came with it.

    Raises:
        PriorityNotAllowed: ``body`` names a higher priority than the key allows.
    """
    asked = isinstance(body, dict) and body.get("priority") is not None
    allowed = within(caller_of(req).allowance, request, asked=asked)
    return replace(allowed, came_with=came_with(req))
