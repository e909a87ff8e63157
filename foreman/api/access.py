"""What is kept of each request: a line of the log, without its query, its headers and its body, and a count."""

from __future__ import annotations

import falcon
from falcon import uri

from foreman import logs
from foreman.clock import monotonic
from foreman.domain.metric import ANSWERED, OTHER, REQUESTS
from foreman.tally import Tally

log = logs.get_logger(__name__)

#: Asked every few seconds by whoever watches foreman; at a higher level they would be most of the log.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


#: The methods that are counted by their names; a client can make up others.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AccessLog:
    """Falcon middleware."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when the request came."""
        req.context.began_at = monotonic()

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Write the line; an answer that is streamed has only begun then."""
        write = log.debug if req.path in _PROBES else log.info
        lasted_s = monotonic() - req.context.began_at
        duration_ms = round(lasted_s * 1000)
        write("request", method=req.method, path=shown_path(req), status=resp.status_code, duration_ms=duration_ms)
        self._count(req, resp, lasted_s)

    def _count(self, req: falcon.Request, resp: falcon.Response, lasted_s: float) -> None:
        method = req.method if req.method in _METHODS else OTHER
        route = req.uri_template or "unmatched"
        self._tally.count(REQUESTS, method, route, str(resp.status_code))
        self._tally.observe(ANSWERED, lasted_s, route)


def shown_path(req: falcon.Request) -> str:
    """The path, percent-encoded again: decoded, it could hold a line break and forge a line of the log."""
    return uri.encode(req.path)
