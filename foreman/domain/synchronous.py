"""The answer to a client that waits for its job: what is left to say of it, and how a failure looks to that client."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from foreman.domain.job import JobFailure
from foreman.domain.lifecycle import Cause

#: What grows line by line in a message, and what is joined in what way; see ``completion.py``.
_TEXTS = ("content", "thinking")
_LISTS = ("tool_calls", "images")

#: What Ollama answers to a request that was given up. It is in no standard; nginx calls it "Client Closed Request".
CLIENT_CLOSED_REQUEST = 499

_STATUSES: dict[Cause, int] = {
    Cause.CANCELLED: CLIENT_CLOSED_REQUEST,
    Cause.CLIENT_DISCONNECTED: CLIENT_CLOSED_REQUEST,
    Cause.START_DEADLINE: HTTPStatus.GATEWAY_TIMEOUT,
    Cause.LOAD_TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    Cause.EXEC_TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    Cause.STALLED: HTTPStatus.GATEWAY_TIMEOUT,
    Cause.UPSTREAM_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Cause.UPSTREAM_ERROR: HTTPStatus.BAD_GATEWAY,
    Cause.UPSTREAM_REJECTED: HTTPStatus.BAD_GATEWAY,
    Cause.TRUNCATED: HTTPStatus.BAD_GATEWAY,
    Cause.MODEL_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Cause.WORKER_LOST: HTTPStatus.INTERNAL_SERVER_ERROR,
    Cause.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(failure: JobFailure) -> int:
    """The HTTP status for a job that failed before anything was sent: the upstream's own where it refused."""
    theirs = failure.upstream_status or 0
    answered = failure.code in {Cause.UPSTREAM_REJECTED, Cause.UPSTREAM_ERROR} and theirs >= HTTPStatus.BAD_REQUEST
    return theirs if answered else _STATUSES[failure.code]


def words_of(failure: JobFailure, model: str) -> str:
    """The text of the error: the upstream's own words where there are any, since clients look into them."""
    if failure.code is Cause.MODEL_NOT_FOUND:
        # Ollama's very words: ``ChatHandler`` in its ``server/routes.go``.
        return f"model '{model}' not found"
    for before in (f"The upstream answered {failure.upstream_status}: ", "The upstream reported an error: "):
        if failure.message.startswith(before):
            return failure.message.removeprefix(before)
    return failure.message


class Told:
    """What of an answer has been handed on, line by line."""

    def __init__(self) -> None:
        self._texts = dict.fromkeys(_TEXTS, 0)
        self._lists = dict.fromkeys(_LISTS, 0)
        self._logprobs = 0

    def add(self, line: dict[str, Any]) -> None:
        """``line`` of the upstream's answer, decoded, is handed on."""
        message = line.get("message") or {}
        for key in _TEXTS:
            self._texts[key] += len(_units(message.get(key) or ""))
        for key in _LISTS:
            self._lists[key] += len(message.get(key) or ())
        self._logprobs += len(line.get("logprobs") or ())

    def rest(self, completion: dict[str, Any]) -> dict[str, Any]:
        """The one line that is missing: ``completion``, the whole answer, less what was handed on."""
        message = dict(completion["message"])
        for key in _TEXTS:
            if key in message:
                message[key] = _text(_units(message[key])[self._texts[key] :])
        for key in _LISTS:
            if key in message:
                message[key] = message[key][self._lists[key] :]
        kept = {key: value for key, value in message.items() if value or key == "content"}
        line = completion | {"message": kept}
        if "logprobs" in line:
            line["logprobs"] = line["logprobs"][self._logprobs :]
        return line


def _units(text: str) -> memoryview:
    """``text`` in units of UTF-16: a character that came in two halves, a line each, so counts the same when joined."""
    return memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")


def _text(units: memoryview) -> str:
    return units.tobytes().decode("utf-16-le", "replace")
