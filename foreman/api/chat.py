"""``POST /api/chat``: Ollama's own, as its clients see it, answered by a job like any other. Contract section 6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import falcon

from foreman.api.answer import respond
from foreman.api.body import decode, read_bytes
from foreman.api.conversation import Desk, Failed, Line
from foreman.api.gate import admitted
from foreman.api.problems import BAD_REQUEST, HTTPProblem
from foreman.domain import submission
from foreman.domain.address import Policy
from foreman.domain.completion import Completion
from foreman.domain.job import JobRequest, Limits, Priority
from foreman.domain.json_value import compact
from foreman.errors import SubmissionInvalid


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes jobs of the bodies of synchronous calls."""

    defaults: Limits
    policy: Policy
    max_body_b: int

    def body(self, req: falcon.Request) -> Any:  # noqa: ANN401  any JSON
        """The body, whatever type it claims to be: Ollama does not look, and ``curl -d`` says that it is a form.

        Raises:
            HTTPProblem: it cannot be read.
        """
        return decode(read_bytes(req, self.max_body_b))

    def request(self, req: falcon.Request, body: object) -> JobRequest:
        """The job that ``body`` asks for, ``interactive`` unless it says otherwise or the caller's key allows less.

        Raises:
            HTTPProblem: 400 and the first of its faults.
            PriorityNotAllowed: it says a higher priority than the key allows.
        """
        full = body
        if isinstance(body, dict) and body.get("priority") is None:
            full = body | {"priority": Priority.INTERACTIVE.label}
        with first_problem():
            request = submission.read(full, defaults=self.defaults, policy=self.policy)
        return admitted(req, request, body)


@contextmanager
def first_problem() -> Iterator[None]:
    """Where a body may be found invalid: 400 and the first of its faults, since there is room for one."""
    try:
        yield
    except SubmissionInvalid as error:
        first = error.problems[0]
        raise HTTPProblem(BAD_REQUEST, f"{first.pointer or 'the body'} {first.detail}") from None


@dataclass(frozen=True, slots=True)
class ChatResource:
    """``POST /api/chat``."""

    reader: Reader
    desk: Desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a chat, and answer with its lines as they come or, ``"stream": false``, with all of it at once."""
        body = self.reader.body(req)
        if isinstance(body, dict) and body.get("messages") is None:
            # In Go a list that is not there is an empty one.
            body["messages"] = []
        conversation = self.desk.begin(req, self.reader.request(req, body))
        # Of a load Ollama has one object to tell, whatever was asked for.
        stream = body.get("stream") is not False and bool(body["messages"])
        respond(conversation, resp, OllamaForm(), stream=stream)


class OllamaForm:
    """Ollama's own: lines as they are, and ``{"error": …}``."""

    @property
    def media_type(self) -> str:
        """Lines of JSON."""
        return "application/x-ndjson"

    def line(self, line: Line) -> bytes:
        """The very line."""
        return line.data + b"\n"

    def error(self, failed: Failed) -> bytes:
        """A last line."""
        return self.refusal(failed) + b"\n"

    def whole(self, completion: Completion) -> bytes:
        """The native response object."""
        return completion.body

    def refusal(self, failed: Failed) -> bytes:
        """One text."""
        return compact({"error": failed.message})
