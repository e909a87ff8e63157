from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import fault
from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause


@pytest.mark.parametrize(
    ("status", "text", "cause", "retry", "began"),
    [
        (400, '{"error":"bad format"}', Cause.UPSTREAM_REJECTED, False, True),
        (401, "", Cause.UPSTREAM_REJECTED, False, True),
        (404, "404 page not found", Cause.UPSTREAM_REJECTED, False, True),
        (404, '{"error":"model \'m\' not found"}', Cause.MODEL_NOT_FOUND, False, True),
        (404, '{"error":"model \\"m\\" not found, try pulling it first"}', Cause.MODEL_NOT_FOUND, False, True),
        (408, "", Cause.UPSTREAM_REJECTED, False, True),
        (413, "", Cause.UPSTREAM_REJECTED, False, True),
        (425, "", Cause.UPSTREAM_REJECTED, False, True),
        (429, "", Cause.UPSTREAM_REJECTED, False, True),
        (500, '{"error":"model requires more system memory"}', Cause.UPSTREAM_ERROR, True, True),
        (502, "", Cause.UPSTREAM_ERROR, True, True),
        (503, '{"error":"server busy"}', Cause.UPSTREAM_ERROR, True, False),
        (204, "", Cause.UPSTREAM_ERROR, True, True),
        (301, "", Cause.UPSTREAM_ERROR, True, True),
    ],
)
def test_a_status_is_classed_once(status: int, text: str, cause: Cause, *, retry: bool, began: bool) -> None:
    """A 4xx is the request's fault and final; the rest is tried again."""
    problem = fault.answered(status, text)
    assert (problem.cause, problem.retry, problem.began) == (cause, retry, began)
    assert problem.failure() == JobFailure(cause, problem.message, status)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 0 ", 0), ("999999", 3600), (None, None), ("soon", None), ("-1", None), ("1e9", None), ("٣", None)],
)
def test_a_busy_upstreams_hint_is_taken_within_bounds(header: str | None, seconds: float | None) -> None:
    """A hint is honoured up to an hour; nonsense is no hint."""
    assert fault.answered(503, "", retry_after=header).retry_after_s == seconds


@pytest.mark.parametrize(
    ("problem", "cause", "retry", "began"),
    [
        (fault.not_connected("refused the connection"), Cause.UPSTREAM_UNREACHABLE, True, False),
        (fault.dropped(streaming=False), Cause.UPSTREAM_UNREACHABLE, True, True),
        (fault.dropped(streaming=True), Cause.TRUNCATED, True, True),
        (fault.ended_early(), Cause.TRUNCATED, True, True),
        (fault.reported("out of memory"), Cause.UPSTREAM_ERROR, True, True),
        (fault.reported('model "m" not found, try pulling it first'), Cause.MODEL_NOT_FOUND, False, True),
        (fault.reported("unable to load model: file not found"), Cause.UPSTREAM_ERROR, True, True),
        (fault.unreadable("a line that is not JSON"), Cause.UPSTREAM_ERROR, True, True),
        (fault.too_large(1), Cause.UPSTREAM_ERROR, False, True),
        (fault.load_timeout(600), Cause.LOAD_TIMEOUT, True, True),
        (fault.exec_timeout(0.5), Cause.EXEC_TIMEOUT, False, True),
        (fault.stalled(300), Cause.STALLED, True, True),
    ],
)
def test_each_fault_has_its_cause(problem: fault.Fault, cause: Cause, *, retry: bool, began: bool) -> None:
    """Whether to try again, and whether it was a run, follows from what happened and from nothing else."""
    assert (problem.cause, problem.retry, problem.began) == (cause, retry, began)
    assert problem.message.endswith(".") or ": " in problem.message


def test_an_upstreams_words_are_passed_on() -> None:
    """A person can tell what to do from the model server's own error."""
    assert fault.answered(400, '{"error":"invalid format"}').message == "The upstream answered 400: invalid format"
    assert fault.answered(500, "plain words").message == "The upstream answered 500: plain words"
    assert fault.answered(500, "").message == "The upstream answered 500."
    assert fault.answered(502, "<html><h1>Bad Gateway</h1>").message == "The upstream answered 502."
    assert fault.answered(500, '{"error":{"message":"x"}}').message.endswith(": x")
    assert fault.answered(500, '["x"]').message == "The upstream answered 500."
    assert fault.answered(500, "[" * 100_000).retry


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('Post "http://127.0.0.1:41234/completion": EOF', 'Post "<url>": EOF'),
        ("dial tcp 10.1.2.3:11434: refused", "dial tcp <address>: refused"),
        ("dial tcp [fd00::1]:11434: refused", "dial tcp <address>: refused"),
        ("unable to load model: /root/.ollama/models/blobs/sha256-ab12", "unable to load model: <path>"),
        ("open ~/models/x.gguf: no such file", "open <path>: no such file"),
        (r"open C:\Users\me\x.gguf: denied", "open <path>: denied"),
        ("bad header Authorization: Bearer abc.def", "bad header Authorization: Bearer <secret>"),
        ("model 'hf.co/org/model:Q4' not found", "model 'hf.co/org/model:Q4' not found"),
        ("either a/b or c", "either a/b or c"),
        ("took 1.5s and 3/4 of 0.12.6", "took 1.5s and 3/4 of 0.12.6"),
        ("line one\r\n\x1b[31mline two\x00", "line one [31mline two"),
    ],
)
def test_addresses_paths_and_secrets_stay_inside(said: str, shown: str) -> None:
    """Ollama's errors quote its own sockets and files; a client of foreman is not to learn of them."""
    assert fault.presentable(said) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_a_quoted_text_is_one_short_printable_line(text: str) -> None:
    """Whatever an upstream says, it fits into a log line and into JSON."""
    line = fault.presentable(text)
    assert len(line) <= fault.MAX_QUOTE_CHARS
    assert line.encode().decode() == line
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)


def test_a_hostile_text_is_searched_no_further_than_it_is_shown() -> None:
    """Megabytes of slashes and dots, which patterns like to go back and forth over, cost what a thousand cost."""
    for filler in ("/", "a.", "1.", "[:", "http:/", "~/", "C:\\", "model "):
        assert len(fault.presentable(filler * 1_000_000)) <= fault.MAX_QUOTE_CHARS
        assert fault.reported(filler * 100_000).cause is Cause.UPSTREAM_ERROR
