"""The access log: one line for each request, without its query, its headers and its body."""

from __future__ import annotations

import falcon
from falcon import uri

from foreman import logs
from foreman.clock import monotonic

log = logs.get_logger(__name__)

#: Asked every few seconds by whoever watches foreman; at a higher level they would be most of the log.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class AccessLog:
    """Falcon middleware."""

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when the request came."""
        req.context.began_at = monotonic()

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Write the line; an answer that is streamed has only begun then."""
        write = log.debug if req.path in _PROBES else log.info
        duration_ms = round((monotonic() - req.context.began_at) * 1000)
        write("request", method=req.method, path=shown_path(req), status=resp.status_code, duration_ms=duration_ms)


def shown_path(req: falcon.Request) -> str:
    """The path, percent-encoded again: decoded, it could hold a line break and forge a line of the log."""
    return uri.encode(req.path)
