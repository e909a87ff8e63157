"""What is kept of each request: a line of the log, without its query, its headers and its body, and a count."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import falcon

from foreman import clock, logs
from foreman.api.asked import REQUEST_ID, came_with, shown_path
from foreman.api.query import job_id_of
from foreman.clock import monotonic
from foreman.domain.came_with import CameWith, request_id_of, traceparent_of
from foreman.domain.metric import ANSWERED, OTHER, REQUESTS
from foreman.errors import JobNotFound
from foreman.tally import Tally

log = logs.get_logger(__name__)

#: The parameter that makes a route one of a job.
JOB = "job_id"

#: Asked every few seconds by whoever watches foreman, or looks at a page; at a higher level they would be most of the
#: log. Routes, as they are added to the app.
_PROBES = frozenset(
    {"/healthz", "/readyz", "/metrics", "/ui/queue", "/ui/upstreams/status", "/ui/jobs/{job_id}/status"}
)

#: The methods that are counted by their names; a client can make up others.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AccessLog:
    """Falcon middleware."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when the request came, and what came with it."""
        req.context.began_at = monotonic()
        request_id = request_id_of(req.get_header(REQUEST_ID)) or clock.new_id()
        req.context.came_with = CameWith(request_id, traceparent_of(req.get_header("traceparent")))
        logs.begin(request_id=request_id)

    def process_resource(
        self, _req: falcon.Request, _resp: falcon.Response, _resource: object, params: dict[str, Any]
    ) -> None:
        """Have the lines of a request about a job say so."""
        if JOB in params:
            with suppress(JobNotFound):
                logs.bind(job_id=job_id_of(params[JOB]))

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Write the line; an answer that is streamed has only begun then."""
        resp.set_header(REQUEST_ID, came_with(req).request_id or "")
        write = log.debug if req.uri_template in _PROBES else log.info
        lasted_s = monotonic() - req.context.began_at
        duration_ms = round(lasted_s * 1000)
        write("request", method=req.method, path=shown_path(req), status=resp.status_code, duration_ms=duration_ms)
        self._count(req, resp, lasted_s)

    def _count(self, req: falcon.Request, resp: falcon.Response, lasted_s: float) -> None:
        method = req.method if req.method in _METHODS else OTHER
        route = req.uri_template or "unmatched"
        self._tally.count(REQUESTS, method, route, str(resp.status_code))
        self._tally.observe(ANSWERED, lasted_s, route)
