"""What went wrong with a call to the upstream, classed once: which cause, whether to retry, whether it had begun."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause

#: Characters of the upstream's own words that are passed on: an error, not a document.
MAX_QUOTE_CHARS = 500
#: How many times ``stall_timeout_s`` an upstream may be silent before its answer's first text: Ollama sends no byte
#: until it has read the prompt. With the default of 300 s that is twenty minutes, in which a machine that reads a mere
#: 110 tokens per second gets through a context of 128 Ki; one that hangs holds its slot no longer than that.
FIRST_TEXT_PATIENCE = 4
#: Seconds: the longest wait an upstream may ask for. The same hour is granted to a webhook receiver.
MAX_RETRY_AFTER_S = 3600

_NOT_FOUND = 404
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
#: The upstream did not take the request on, so nothing was spent on the job: for Ollama a full queue of its own.
BUSY = frozenset({503})

#: How Ollama and llama.cpp say that there is no such model: ``model "x" not found, try pulling it first``.
_NO_SUCH_MODEL = re.compile(r"\bmodel\s+\S+\s+(?:was\s+)?(?:not found|does not exist)", re.IGNORECASE)

#: What a quoted text must not carry out of the house, and what is shown in its place. Ollama's errors do hold such:
#: ``Post "http://127.0.0.1:41234/completion": EOF``, ``unable to load model: /root/.ollama/models/blobs/sha256-…``.
_PRIVATE = (
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"(?<![\w.:])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]+)?(?![\w.])"), "<address>"),
    (re.compile(r"\[[0-9a-f:.%]*:[0-9a-z:.%]*\](?::[0-9]+)?", re.IGNORECASE), "<address>"),
    (re.compile(r"(?<![\w.~/-])~?/[^\s\"'<>:,;()]+"), "<path>"),
    (re.compile(r"\b[A-Z]:\\[^\s\"'<>:,;()]+", re.IGNORECASE), "<path>"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]+", re.IGNORECASE), r"\1 <secret>"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """A call that brought no completion.

    ``retry``: another attempt may succeed. ``began``: the upstream may have worked on the request, so this was a run;
    if not, the job stays where it is. ``retry_after_s`` is the upstream's own hint. ``message`` is for people and holds
    no address, path or secret.
    """

    cause: Cause
    message: str
    retry: bool
    began: bool = True
    upstream_status: int | None = None
    retry_after_s: float | None = None

    def failure(self) -> JobFailure:
        """What the job's ``error`` becomes when there is no further attempt."""
        return JobFailure(code=self.cause, message=self.message, upstream_status=self.upstream_status)


@dataclass(frozen=True, slots=True)
class Aborted:
    """The call ended because this side cut it: no fault of the upstream's, and nothing to class."""


def not_connected(what: str) -> Fault:
    """The upstream never saw the request; ``what`` it did instead completes "The upstream …"."""
    return Fault(Cause.UPSTREAM_UNREACHABLE, f"The upstream {what}.", retry=True, began=False)


def answered(status: int, text: str, *, retry_after: str | None = None, busy: frozenset[int] = BUSY) -> Fault:
    """The upstream answered with a ``status`` other than 200; ``text`` is its body, as far as it was read.

    ``retry_after`` is the header. Only its form in seconds is understood: no model server is known to send a date.
    ``busy`` are the statuses by which this kind of upstream says that it took nothing on.
    """
    message = f"The upstream answered {status}{_quoted(error_text(text))}"
    if status in busy:
        hint_s = _retry_after_s(retry_after)
        return Fault(
            Cause.UPSTREAM_ERROR, message, retry=True, began=False, upstream_status=status, retry_after_s=hint_s
        )
    if status == _NOT_FOUND and "model" in text.lower():
        return Fault(Cause.MODEL_NOT_FOUND, message, retry=False, upstream_status=status)
    if _CLIENT_ERROR <= status < _SERVER_ERROR:
        return Fault(Cause.UPSTREAM_REJECTED, message, retry=False, upstream_status=status)
    return Fault(Cause.UPSTREAM_ERROR, message, retry=True, upstream_status=status)


def reported(text: str) -> Fault:
    """The upstream sent ``{"error": text}`` as a line of the stream, after a 200."""
    if _NO_SUCH_MODEL.search(text[: 2 * MAX_QUOTE_CHARS]):
        return Fault(Cause.MODEL_NOT_FOUND, f"The upstream reported an error{_quoted(text)}", retry=False)
    return Fault(Cause.UPSTREAM_ERROR, f"The upstream reported an error{_quoted(text)}", retry=True)


def dropped(*, streaming: bool) -> Fault:
    """The connection broke; ``streaming`` tells whether some of the answer had arrived."""
    if streaming:
        return Fault(Cause.TRUNCATED, "The upstream dropped the connection in the middle of its answer.", retry=True)
    return Fault(Cause.UPSTREAM_UNREACHABLE, "The upstream dropped the connection before it answered.", retry=True)


def ended_early() -> Fault:
    """The stream ended in good order, but without ``"done": true``."""
    return Fault(Cause.TRUNCATED, "The upstream ended its answer without saying that it was done.", retry=True)


def unreadable(what: str) -> Fault:
    """The answer was none of Ollama's; ``what`` completes "The upstream sent …"."""
    return Fault(Cause.UPSTREAM_ERROR, f"The upstream sent {what}.", retry=True)


def too_large(limit_b: int) -> Fault:
    """The answer grew past ``limit_b``. Not retried: the same request would make a model ramble on again."""
    return Fault(Cause.UPSTREAM_ERROR, f"The upstream's answer grew past {limit_b} bytes.", retry=False)


def load_timeout(limit_s: float) -> Fault:
    """The model was not in memory after ``limit_s``. Retried: the next attempt may find it loaded."""
    return Fault(Cause.LOAD_TIMEOUT, f"The model was not loaded within {limit_s:g} s.", retry=True)


def exec_timeout(limit_s: float) -> Fault:
    """The call took longer than ``limit_s``. Not retried: it would take as long again."""
    return Fault(Cause.EXEC_TIMEOUT, f"The upstream did not finish within {limit_s:g} s.", retry=False)


def stalled(limit_s: float) -> Fault:
    """The upstream sent no byte for ``limit_s``."""
    return Fault(Cause.STALLED, f"The upstream sent nothing for {limit_s:g} s.", retry=True)


def error_text(body: str) -> str:
    """What an error's ``body`` says: the text of ``{"error": …}``, plain text as it is, nothing of a web page."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "" if body.lstrip().startswith("<") else body
    match answer:
        case {"error": str(text)} | {"error": {"message": str(text)}}:
            return text
        case _:
            return ""


def presentable(text: str) -> str:
    """``text`` on one line without addresses, paths and secrets, and at most ``MAX_QUOTE_CHARS`` long."""
    # The cut comes first, or a hostile text of megabytes would be searched to the end.
    line = _CONTROL.sub(" ", text[: 2 * MAX_QUOTE_CHARS])
    for private, shown in _PRIVATE:
        line = private.sub(shown, line)
    line = " ".join(line.split())
    return line if len(line) <= MAX_QUOTE_CHARS else f"{line[: MAX_QUOTE_CHARS - 1]}…"


def _quoted(text: str) -> str:
    words = presentable(text)
    return f": {words}" if words else "."


def _retry_after_s(header: str | None) -> float | None:
    if header is None or not re.fullmatch(r"[0-9]{1,9}", header.strip(), re.ASCII):
        return None
    return min(float(header), MAX_RETRY_AFTER_S)
