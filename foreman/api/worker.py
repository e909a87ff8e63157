"""gunicorn's threaded worker, with its own errors in the API's form: about what is no HTTP, or none that is spoken.

By itself gunicorn answers these in HTML that repeats what was sent, and one of them with 501.
"""

from __future__ import annotations

import contextlib
import select
from typing import Any

from gunicorn import util  # type: ignore[import-untyped]  # it ships no types, in whole or in part
from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from foreman import logs
from foreman.api.problems import (
    BAD_REQUEST,
    BAD_TRANSFER_CODING,
    EXPECTATION_FAILED,
    HEADERS_TOO_LARGE,
    INTERNAL,
    MEDIA_PROBLEM,
    URI_TOO_LONG,
    Kind,
    problem_body,
)
from foreman.domain.json_value import compact

#: Milliseconds for which a thread stays with a client that may ask again at once. The way back through the main thread,
#: which watches all idle connections, is a sixth of what it costs to accept a job. With 5 a busy client is late now and
#: then, and a tenth fewer jobs are accepted (measured).
PATIENCE_MS = 30

log = logs.get_logger(__name__)

#: The first that fits counts.
_KINDS: tuple[tuple[type[Exception], Kind], ...] = (
    # The application's fault: it is a subclass of what a client's bad header is.
    (errors.InvalidResponseHeader, INTERNAL),
    (errors.InvalidResponseHeaderName, INTERNAL),
    (errors.LimitRequestLine, URI_TOO_LONG),
    (errors.LimitRequestHeaders, HEADERS_TOO_LARGE),
    (errors.ExpectationFailed, EXPECTATION_FAILED),
    (errors.UnsupportedTransferCoding, BAD_TRANSFER_CODING),
    (errors.ParseException, BAD_REQUEST),
)


def kind_of(error: Exception) -> Kind:
    """What a client is told of an error that never came to the application."""
    return next((kind for each, kind in _KINDS if isinstance(error, each)), INTERNAL)


def answer_to(error: Exception) -> bytes:
    """The whole answer, head and body, after which the connection is closed."""
    kind = kind_of(error)
    body = compact(problem_body(kind, kind.status, kind.detail))
    head = (
        f"HTTP/1.1 {kind.status.value} {kind.status.phrase}\r\nConnection: close\r\nContent-Type: {MEDIA_PROBLEM}\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """What ``conf/gunicorn.py`` names as its worker class."""

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 -- gunicorn's
        """Answer a request, and the next ones as long as they follow at once and no other client waits for a thread."""
        kept = super().handle(conn)
        while kept is True and self._follows(conn):
            kept = super().handle(conn)
        return kept

    def _follows(self, conn: Any) -> bool:  # noqa: ANN401 -- gunicorn's
        """Whether the next request of the connection is there, or comes within ``PATIENCE_MS``."""
        if not self.alive or self.tpool._work_queue.qsize():  # noqa: SLF001 -- a pool does not tell otherwise
            return False
        waits = select.poll()
        waits.register(conn.sock, select.POLLIN)
        return bool(waits.poll(PATIENCE_MS))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002  gunicorn's
        """Answer what could not be read as a request, or failed outside the application."""
        if kind_of(exc) is INTERNAL:
            log.error("request failed outside the application", exc_info=exc)
        else:
            log.info("request not understood", reason=type(exc).__name__)
        with contextlib.suppress(OSError):  # the client did not stay for it
            util.write_nonblock(client, answer_to(exc))
