"""What is told of a request in logs and beyond: its path, its id, and the trace that it is part of."""

from __future__ import annotations

import falcon
from falcon import uri

from foreman.domain.came_with import CameWith

#: The header with a request's id, in requests and in answers.
REQUEST_ID = "X-Request-Id"


def shown_path(req: falcon.Request) -> str:
    """The path, percent-encoded again: decoded, it could hold a line break and forge a line of the log."""
    return uri.encode(req.path)


def came_with(req: falcon.Request) -> CameWith:
    """What came with a request, from when ``AccessLog`` has seen it; it always has an id."""
    found: CameWith = req.context.came_with
    return found
