"""One handler and one formatter for everything that is logged: by foreman, Dramatiq, gunicorn or a library.

A line names the event in a few fixed words and carries facts as keys: ``log.info("job started", job_id=…)``. Payloads,
completions and secrets are never passed to a logger; ``_HIDDEN`` is the net below that rule.
"""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from foreman.domain.moment import rfc3339
from foreman.domain.section import Log

#: Keys whose values are not written, whoever logs them.
_HIDDEN = frozenset(
    {"authorization", "body", "content", "headers", "payload", "prompt", "secret", "secrets", "signature"}
)

#: At their lower levels these write what foreman must not: URLs, which may hold a token, or whole commands.
_QUIET = ("urllib3", "redis", "psycopg", "peewee")

#: gunicorn gives these handlers of their own and keeps their records from the root.
_SELF_WILLED = ("gunicorn.error", "gunicorn.access")


def configure(log: Log, *, process: str) -> None:
    """Send every record of this process to standard error; ``process`` (``web``, ``jobs``, …) is in each line.

    Call it after a library that sets up logging by itself: it takes gunicorn's own handlers away. ``dictConfig`` is not
    used, since it closes every handler there is, whoever owns it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(log, process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in _SELF_WILLED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=True)


def get_logger(name: str) -> BoundLogger:
    """Make a logger that takes facts as keywords, by the module's ``__name__``; before ``configure`` or after."""
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=BoundLogger,
    )
    return cast("BoundLogger", logger)


def begin(**facts: str | None) -> None:
    """A unit of work begins in this thread: from here on its lines, a library's too, hold these facts and no others."""
    structlog.contextvars.clear_contextvars()
    bind(**facts)


def bind(**facts: str | None) -> None:
    """From here on the lines of this unit of work hold these facts as well; ``None`` takes one away."""
    structlog.contextvars.unbind_contextvars(*facts)
    structlog.contextvars.bind_contextvars(**{name: fact for name, fact in facts.items() if fact is not None})


def _formatter(log: Log, process: str) -> ProcessorFormatter:
    """How a record becomes a line, a library's as well as foreman's own."""
    console = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())

    def _head(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog")
        shown = {key: "[hidden]" if key in _HIDDEN else value for key, value in event.items()}
        return {"timestamp": rfc3339(int(record.created * 1000)), "process": process, **shown}

    return ProcessorFormatter(
        processors=[_head, *(_console() if console else _json())],
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
        ],
    )


def _console() -> list[Processor]:
    """For people. The plain traceback: the pretty one prints local variables, payloads among them."""
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    ]


def _json() -> list[Processor]:
    """For machines: one object a line, tracebacks as text under ``exception``."""
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
