"""``POST /api/chat``: Ollama's own, as its clients see it, answered by a job like any other. Contract section 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon

from foreman.api.body import decode, read_bytes
from foreman.api.conversation import Conversation, Desk, Failed, Line
from foreman.api.problems import BAD_REQUEST, HTTPProblem
from foreman.domain import submission
from foreman.domain.address import Policy
from foreman.domain.completion import Assembly, Completion
from foreman.domain.job import JobRequest, Limits, Priority
from foreman.domain.json_value import compact
from foreman.errors import SubmissionInvalid
from foreman.net.call import COMPLETION_LIMIT_B

MEDIA_NDJSON = "application/x-ndjson"

#: Tells the client of its job, for whoever wants to see it again.
JOB_ID = "X-Foreman-Job-Id"


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

    def request(self, body: object) -> JobRequest:
        """The job that ``body`` asks for, ``interactive`` unless it says otherwise.

        Raises:
            HTTPProblem: 400 and the first of its faults.
        """
        if isinstance(body, dict) and body.get("priority") is None:
            body = body | {"priority": Priority.INTERACTIVE.label}
        try:
            return submission.read(body, defaults=self.defaults, policy=self.policy)
        except SubmissionInvalid as error:
            first = error.problems[0]
            raise HTTPProblem(BAD_REQUEST, f"{first.pointer or 'the body'} {first.detail}") from None


@dataclass(frozen=True, slots=True)
class ChatResource:
    """``POST /api/chat``."""

    reader: Reader
    desk: Desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a chat, and answer with its lines as they come or, ``"stream": false``, with all of it at once.

        The status is open until the first line: a failure before it is an HTTP status, after it a line.
        """
        body = self.reader.body(req)
        if isinstance(body, dict) and body.get("messages") is None:
            # In Go a list that is not there is an empty one.
            body["messages"] = []
        conversation = self.desk.begin(req, self.reader.request(body))
        resp.set_header(JOB_ID, conversation.job.id)
        resp.set_header("Cache-Control", "no-store")
        try:
            if body.get("stream") is False:
                _whole(conversation, resp)
            else:
                _stream(conversation, resp)
        except BaseException:
            conversation.close()
            raise


def _whole(conversation: Conversation, resp: falcon.Response) -> None:
    answer = whole(conversation)
    conversation.close()
    if isinstance(answer, Failed):
        _refuse(resp, answer)
    else:
        resp.data = answer.body
        resp.content_type = falcon.MEDIA_JSON


def whole(conversation: Conversation) -> Completion | Failed:
    """The answer once it is complete: the object that the artifact ``completion`` is."""
    assembly = Assembly(COMPLETION_LIMIT_B)
    while True:
        match conversation.next():
            case Failed() as failed:
                return failed
            case Line() as line:
                assembly.feed(line.data)
                if line.last:
                    break
            case _:
                assembly = Assembly(COMPLETION_LIMIT_B)
    completion = assembly.finish()
    return completion if isinstance(completion, Completion) else Failed(502, completion.message)


def _stream(conversation: Conversation, resp: falcon.Response) -> None:
    first = first_line(conversation)
    if isinstance(first, Failed):
        conversation.close()
        _refuse(resp, first)
    else:
        resp.stream = _Lines(first, conversation)
        resp.content_type = MEDIA_NDJSON


def first_line(conversation: Conversation) -> Line | Failed:
    """The first line, from which on nothing can be taken back."""
    while not isinstance(outcome := conversation.next(), Line | Failed):
        pass
    conversation.committed = isinstance(outcome, Line)
    return outcome


def _refuse(resp: falcon.Response, failed: Failed) -> None:
    resp.status = failed.status
    resp.data = compact({"error": failed.message})
    resp.content_type = falcon.MEDIA_JSON


class _Lines:
    """The answer as gunicorn takes it: a line for each, and ``close`` whatever happens."""

    def __init__(self, first: Line, conversation: Conversation) -> None:
        self._next: Line | None = first
        self._conversation = conversation
        self._over = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        outcome, self._next = self._next or self._conversation.next(), None
        match outcome:
            case Line(data=data, last=last):
                self._over = last
                return data + b"\n"
            case Failed(message=message):
                self._over = True
                return compact({"error": message}) + b"\n"
            case _:
                # A conversation that is committed does not begin anew.
                raise StopIteration

    def close(self) -> None:
        self._conversation.close()
