from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from foreman import logs
from foreman.domain.section import Log

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Give pytest its own logging back; no line tells of a request that another test made on this thread."""
    structlog.contextvars.clear_contextvars()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Calling it gives what was written so far, one object a line."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_holds_the_facts_as_keys(lines: Lines) -> None:
    """Log search works on names, not on prose."""
    logs.configure(Log(format="json"), process="jobs")
    logs.get_logger("foreman.services.run").info("job started", job_id="01J", attempt=2)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "process": "jobs",
        "level": "info",
        "logger": "foreman.services.run",
        "event": "job started",
        "job_id": "01J",
        "attempt": 2,
    }


def test_a_logger_made_before_logging_is_set_up_works_after(lines: Lines) -> None:
    """Modules make theirs when they are imported."""
    log = logs.get_logger("early")
    logs.configure(Log(level="warning", format="json"), process="web")
    log.info("too low")
    log.warning("high enough")
    assert [(line["event"], line["process"]) for line in lines()] == [("high enough", "web")]


@pytest.mark.parametrize("name", ["dramatiq.worker", "gunicorn.error", "some.library"])
def test_a_library_is_logged_in_the_same_form(lines: Lines, name: str) -> None:
    """One stream, one format, whoever speaks."""
    logs.configure(Log(format="json"), process="jobs")
    logging.getLogger(name).warning("lost %s of %d", "one", 3)
    (line,) = lines()
    assert (line["logger"], line["level"], line["event"]) == (name, "warning", "lost one of 3")


def test_an_exception_is_one_line(lines: Lines) -> None:
    """A traceback spread over lines cannot be read by a machine."""
    logs.configure(Log(format="json"), process="jobs")
    try:
        raise ValueError("no such thing")  # noqa: TRY301 - an exception is what is logged
    except ValueError:
        logs.get_logger("here").exception("failed")
        logging.getLogger("library").exception("failed too")
    ours, theirs = lines()
    assert "ValueError: no such thing" in ours["exception"]
    assert "ValueError: no such thing" in theirs["exception"]


@pytest.mark.parametrize("key", ["payload", "body", "secret", "authorization", "signature"])
def test_what_must_not_be_logged_is_hidden(lines: Lines, key: str) -> None:
    """A slip in one call does not put a prompt or a secret into a log store."""
    logs.configure(Log(format="json"), process="jobs")
    logs.get_logger("slip").warning("sent", **{key: "hunter2"})
    (line,) = lines()
    assert line[key] == "[hidden]"


def test_a_traceback_on_the_console_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """Local variables are where payloads are."""
    payload = "hunter2"
    logs.configure(Log(format="console"), process="web")
    try:
        raise ValueError(len(payload))  # noqa: TRY301 - an exception is what is logged
    except ValueError:
        logs.get_logger("here").exception("failed")
    written = capsys.readouterr().err
    assert "ValueError: 7" in written
    assert "hunter2" not in written


def test_urls_of_webhooks_are_not_logged_by_the_http_library(lines: Lines) -> None:
    """A URL may hold a token, and urllib3 writes each at debug level."""
    logs.configure(Log(level="debug", format="json"), process="webhooks")
    logging.getLogger("urllib3.connectionpool").debug("POST /hook?token=hunter2")
    logging.getLogger("other").debug("written")
    assert [line["logger"] for line in lines()] == ["other"]


def test_errors_alone_means_errors_alone(lines: Lines) -> None:
    """The quieter loggers do not become louder than the rest."""
    logs.configure(Log(level="error", format="json"), process="web")
    for name in ("urllib3", "gunicorn.error", "other"):
        logging.getLogger(name).warning("passed over")
    assert lines() == []


def test_gunicorn_loses_the_handlers_it_gave_itself(lines: Lines) -> None:
    """Or each of its lines would come twice, once in a form of its own."""
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.addHandler(logging.StreamHandler(sys.stderr))
    gunicorn.propagate = False
    logs.configure(Log(format="json"), process="web")
    gunicorn.info("Booting worker")
    assert [line["event"] for line in lines()] == ["Booting worker"]


@pytest.mark.parametrize(("terminal", "first"), [(True, "\x1b"), (False, "{")])
def test_auto_is_for_people_on_a_terminal_and_for_machines_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool, first: str
) -> None:
    """`foreman up` by hand is readable; a container's log is parseable."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    logs.configure(Log(format="auto"), process="web")
    logs.get_logger("here").info("ready")
    assert capsys.readouterr().err.startswith(first)


def test_a_warning_of_python_is_a_log_line(lines: Lines) -> None:
    """A deprecation is not lost between the lines of others."""
    logs.configure(Log(format="json"), process="jobs")
    warnings.showwarning("old", DeprecationWarning, "module.py", 1)
    (line,) = lines()
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")


def test_the_lines_of_a_unit_of_work_hold_what_it_is_about(lines: Lines) -> None:
    """A library's lines too; what was known of the one before is forgotten, and what a line says itself counts more."""
    logs.configure(Log(format="json"), process="jobs")
    logs.begin(job_id="A", request_id="R")
    logs.get_logger("ours").info("one")
    logging.getLogger("library").warning("two")
    logs.bind(job_id="B", request_id=None)
    logs.get_logger("ours").info("three")
    logs.get_logger("ours").info("four", job_id="C")
    logs.begin()
    logs.get_logger("ours").info("five")
    said = [(line["event"], line.get("job_id"), line.get("request_id")) for line in lines()]
    assert said == [
        ("one", "A", "R"),
        ("two", "A", "R"),
        ("three", "B", None),
        ("four", "C", None),
        ("five", None, None),
    ]
