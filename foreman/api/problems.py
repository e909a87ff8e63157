"""Every error the API answers: one table from what went wrong to status and RFC 9457 body.

Body, ``application/problem+json``::

    {"type": "urn:foreman:problem:<name>", "title", "status", "detail", "errors"?: [{"pointer", "detail"}]}

``type`` is what a client may branch on; ``title`` and ``detail`` are for people, and hold no path, secret or address.
Below ``/api`` and ``/v1`` the body is what Ollama's and OpenAI's clients expect: see ``dialect.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import falcon

from foreman import errors, logs
from foreman.api import shown
from foreman.api.asked import shown_path
from foreman.api.dialect import foreign
from foreman.domain.json_value import compact

log = logs.get_logger(__name__)

MEDIA_PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem; ``detail`` is said unless the occasion has more to say."""

    name: str
    status: HTTPStatus
    title: str
    detail: str
    #: ``Retry-After``, seconds, unless the error brings its own; ``None``: nothing is gained by trying again.
    retry_after_s: int | None = None


BAD_REQUEST = Kind("bad-request", HTTPStatus.BAD_REQUEST, "Bad request", "The request cannot be understood.")
NOT_JSON = Kind("not-json", HTTPStatus.BAD_REQUEST, "The body is not JSON", "The body must be JSON in UTF-8.")
BAD_BODY = Kind("incomplete-body", HTTPStatus.BAD_REQUEST, "The body did not arrive whole", "The body ended too early.")
BODY_TIMEOUT = Kind(
    "body-timeout", HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time", "Send the body without pauses."
)
BAD_HEADER = Kind("bad-header", HTTPStatus.BAD_REQUEST, "A header cannot be used", "A header cannot be used.")
BAD_PARAMETER = Kind("bad-parameter", HTTPStatus.BAD_REQUEST, "A query parameter cannot be used", "See the detail.")
NO_ROUTE = Kind("no-such-route", HTTPStatus.NOT_FOUND, "There is nothing here", "No resource has this path.")
BAD_METHOD = Kind(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "The resource does not know this method",
    "The header Allow names the methods it knows.",
)
ARTIFACT_GONE = Kind(
    "artifact-gone", HTTPStatus.GONE, "The artifact is gone", "The job names this artifact, and its bytes are no more."
)
BAD_RANGE = Kind(
    "range-not-satisfiable",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "The range is not in the artifact",
    "The header Content-Range tells the artifact's size.",
)
NO_KEY = Kind(
    "key-required",
    HTTPStatus.UNAUTHORIZED,
    "An API key is required",
    "Send a key that is good: Authorization: Bearer fm_…",
)
NOT_ADMIN = Kind(
    "admin-key-required",
    HTTPStatus.FORBIDDEN,
    "Only an admin key may ask this",
    "The key is good, and this is for whoever runs foreman.",
)
TOO_LARGE = Kind(
    "body-too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large", "The body is over the limit."
)
BAD_MEDIA_TYPE = Kind(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body is of the wrong type",
    "Content-Type must be application/json.",
)
NO_PLACE = Kind(
    "too-many-connected",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many clients stay connected",
    "As many clients follow jobs, or wait for them, as this process has places for. Nothing was done.",
    retry_after_s=5,
)
TOO_MANY_PINGS = Kind(
    "too-many-pings",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many URLs are being tried",
    "As many pings as this process makes at once are under way. Nothing was sent.",
    retry_after_s=5,
)
BAD_CODING = Kind(
    "unsupported-content-coding",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body is encoded",
    "Send the body as it is, without a Content-Encoding.",
)
URI_TOO_LONG = Kind(
    "uri-too-long", HTTPStatus.REQUEST_URI_TOO_LONG, "The URL is too long", "The first line is over 4094 bytes."
)
HEADERS_TOO_LARGE = Kind(
    "headers-too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The headers are too large",
    "There may be 100 headers of 8190 bytes each.",
)
EXPECTATION_FAILED = Kind(
    "expectation-failed", HTTPStatus.EXPECTATION_FAILED, "Not to be expected", "Expect may only be 100-continue."
)
# RFC 9112 section 6.1 would have 501 here; but nothing is wrong with the server, and alarms look at 5xx.
BAD_TRANSFER_CODING = Kind(
    "unsupported-transfer-coding",
    HTTPStatus.BAD_REQUEST,
    "The body is sent in a way that is not understood",
    "Transfer-Encoding may only be chunked.",
)
INTERNAL = Kind(
    "internal",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "Internal error",
    "foreman failed to answer; its log says more.",
)

#: What foreman's own errors are over HTTP. An error that is not here is a fault of foreman's: 500.
TABLE: Mapping[type[errors.ForemanError], Kind] = {
    errors.BodyInvalid: Kind(
        "invalid-body",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body is not what this resource takes",
        "`errors` names each place in the body and what would be right there.",
    ),
    errors.SubmissionInvalid: Kind(
        "invalid-job",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body is not a valid job",
        "`errors` names each place in the body and what would be right there.",
    ),
    errors.IdempotencyConflict: Kind(
        "idempotency-conflict",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used with another body",
        "Repeat the first body to get its job, or use a new key for a new job.",
    ),
    errors.QueueFull: Kind(
        "queue-full",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The queue is full",
        "Nothing was accepted. A place should be free after the seconds in Retry-After.",
        retry_after_s=60,
    ),
    errors.TooManyQueued: Kind(
        "key-queue-full",
        HTTPStatus.TOO_MANY_REQUESTS,
        "The key's queue is full",
        "Nothing was accepted: as many jobs of this key are queued as it allows.",
        retry_after_s=60,
    ),
    errors.TooManySubmissions: Kind(
        "key-rate-exceeded",
        HTTPStatus.TOO_MANY_REQUESTS,
        "The key has submitted too many jobs",
        "Nothing was accepted: this key has submitted as many jobs within a minute as it allows.",
        retry_after_s=60,
    ),
    errors.PriorityNotAllowed: Kind(
        "priority-not-allowed",
        HTTPStatus.TOO_MANY_REQUESTS,
        "The key does not allow this priority",
        "Nothing was accepted: the key does not allow this priority.",
        retry_after_s=3600,  # no sooner than somebody may have changed the key: a client that repeats it does no harm
    ),
    errors.JobNotFound: Kind("job-not-found", HTTPStatus.NOT_FOUND, "There is no such job", "No job has this id."),
    errors.JobGone: Kind(
        "job-gone", HTTPStatus.GONE, "The job is gone", "The job was deleted, or its time after its end is over."
    ),
    errors.JobNotTerminal: Kind(
        "job-not-ended", HTTPStatus.CONFLICT, "The job has not ended", "Only a job that is done or failed can do this."
    ),
    errors.JobTerminal: Kind(
        "job-ended", HTTPStatus.CONFLICT, "The job has ended", "The job is done or failed already."
    ),
    errors.EventNotFound: Kind(
        "event-not-found",
        HTTPStatus.NOT_FOUND,
        "There is no such event",
        "The job has not come to this state, or has no webhook.",
    ),
    errors.EventSkipped: Kind(
        "event-skipped",
        HTTPStatus.CONFLICT,
        "The event was skipped",
        "The submission did not ask for it, or the receiver had answered 410 before: it was never built.",
    ),
    errors.ArtifactNotFound: Kind(
        "artifact-not-found",
        HTTPStatus.NOT_FOUND,
        "There is no such artifact",
        "The job has no artifact of this name; `completion` is there once it is done.",
    ),
    errors.StoreUnavailable: Kind(
        "database-unavailable",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database cannot be used now",
        "Nothing was changed. Try again.",
        retry_after_s=1,
    ),
    errors.ArtifactStoreUnavailable: Kind(
        "artifact-store-unavailable",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The artifact store cannot be used now",
        "Try again.",
        retry_after_s=1,
    ),
}

#: What Falcon's own errors are.
_OF_STATUS = {kind.status: kind for kind in (BAD_REQUEST, NO_ROUTE, BAD_METHOD, INTERNAL)}


class HTTPProblem(falcon.HTTPError):
    """A problem of one ``kind``; Falcon ends the request with it. ``problems`` become ``errors``."""

    def __init__(
        self,
        kind: Kind,
        detail: str | None = None,
        *,
        problems: Sequence[errors.Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.status, title=kind.title, description=detail or kind.detail, headers=dict(headers or {}))
        self.kind = kind
        self.problems = problems


def install(app: falcon.App[Any, Any]) -> None:
    """Make ``app`` answer every error as a problem."""
    app.set_error_serializer(serialize)
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(errors.ForemanError, _foreseen)


def problem_body(kind: Kind, status: HTTPStatus, detail: str) -> shown.Problem:
    """The JSON object of a problem of one ``kind``."""
    return {"type": f"urn:foreman:problem:{kind.name}", "title": kind.title, "status": status, "detail": detail}


def kind_of(error: falcon.HTTPError) -> Kind:
    """What kind of problem an error is, Falcon's own included."""
    return error.kind if isinstance(error, HTTPProblem) else _OF_STATUS.get(HTTPStatus(error.status_code), BAD_REQUEST)


def serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Write the body of a problem, Falcon's own errors included."""
    status = HTTPStatus(error.status_code)
    kind = kind_of(error)
    detail = error.description or kind.detail
    foreigns = foreign(req.path, status, detail)
    if foreigns is not None:
        resp.data = compact(foreigns)
        resp.content_type = falcon.MEDIA_JSON
    else:
        body = problem_body(kind, status, detail)
        if isinstance(error, HTTPProblem) and error.problems:
            body["errors"] = [{"pointer": each.pointer, "detail": each.detail} for each in error.problems]
        resp.data = compact(body)
        resp.content_type = MEDIA_PROBLEM
    resp.set_header("Cache-Control", "no-store")


def _foreseen(req: falcon.Request, resp: falcon.Response, error: errors.ForemanError, params: dict[str, Any]) -> None:
    """Look the error up in the table."""
    kind = next((TABLE[each] for each in type(error).__mro__ if each in TABLE), None)
    if kind is None:
        _unexpected(req, resp, error, params)
        return
    if isinstance(error, errors.StoreUnavailable | errors.ArtifactStoreUnavailable):
        log.warning("request refused", problem=kind.name, method=req.method, path=shown_path(req), reason=str(error))
    told = error.retry_after_s if isinstance(error, errors.QueueFull | errors.AllowanceUsedUp) else None
    retry_after_s = told or kind.retry_after_s
    raise HTTPProblem(
        kind,
        _detail(error),
        problems=error.problems if isinstance(error, errors.BodyInvalid) else (),
        headers={} if retry_after_s is None else {"Retry-After": str(retry_after_s)},
    )


def _detail(error: errors.ForemanError) -> str | None:
    """What the occasion has to say; ``None``: no more than its kind."""
    match error:
        case errors.AllowanceUsedUp():
            return f"Nothing was accepted: the key allows {error.limit}, and has them."
        case errors.PriorityNotAllowed():
            return f"Nothing was accepted: the highest priority that the key allows is {error.highest}."
        case _:
            return None


def _unexpected(req: falcon.Request, _resp: falcon.Response, error: Exception, _params: dict[str, Any]) -> None:
    """The process's edge: log a fault of foreman's with its traceback, and tell the client nothing of it."""
    log.error("request failed", method=req.method, path=shown_path(req), exc_info=error)
    raise HTTPProblem(INTERNAL)
