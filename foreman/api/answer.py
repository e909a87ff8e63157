"""How a conversation becomes a response: in one piece or as a stream, in the form that the client knows."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

import falcon

from foreman.api.conversation import Conversation, Failed, Line
from foreman.domain.completion import Assembly, Completion
from foreman.net.call import COMPLETION_LIMIT_B

#: Tells the client of its job, for whoever wants to see it again.
JOB_ID = "X-Foreman-Job-Id"


class Form(Protocol):
    """What one API's answers look like."""

    @property
    def media_type(self) -> str:
        """The type of a stream."""

    def line(self, line: Line) -> bytes:
        """What a stream says for the next line; ``b""``: nothing."""

    def error(self, failed: Failed) -> bytes:
        """How a stream ends that fails."""

    def whole(self, completion: Completion) -> bytes:
        """The answer in one piece."""

    def refusal(self, failed: Failed) -> bytes:
        """The body of an error."""


def respond(conversation: Conversation, resp: falcon.Response, form: Form, *, stream: bool) -> None:
    """Answer. A failure before the first line is an HTTP status; after it, part of the stream.

    The conversation is closed here, or with the stream.
    """
    resp.set_header(JOB_ID, conversation.job.id)
    resp.set_header("Cache-Control", "no-store")
    try:
        outcome = _first_line(conversation) if stream else _whole(conversation)
    except BaseException:
        conversation.close()
        raise
    if isinstance(outcome, Line):
        resp.content_type = form.media_type
        resp.stream = _Stream(outcome, conversation, form)
        return
    conversation.close()
    resp.content_type = falcon.MEDIA_JSON
    if isinstance(outcome, Failed):
        resp.status = outcome.status
        resp.data = form.refusal(outcome)
    else:
        resp.data = form.whole(outcome)


def _first_line(conversation: Conversation) -> Line | Failed:
    """The first line, from which on nothing can be taken back."""
    while not isinstance(outcome := conversation.next(), Line | Failed):
        pass
    conversation.committed = isinstance(outcome, Line)
    return outcome


def _whole(conversation: Conversation) -> Completion | Failed:
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
    return completion if isinstance(completion, Completion) else Failed(HTTPStatus.BAD_GATEWAY, completion.message)


class _Stream:
    """The answer as gunicorn takes it, and ``close`` whatever happens."""

    def __init__(self, first: Line, conversation: Conversation, form: Form) -> None:
        self._first: Line | None = first
        self._conversation = conversation
        self._form = form
        self._over = False

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> bytes:
        while not self._over:
            outcome, self._first = self._first or self._conversation.next(), None
            match outcome:
                case Line() as line:
                    self._over = line.last
                    if written := self._form.line(line):
                        return written
                case Failed() as failed:
                    self._over = True
                    return self._form.error(failed)
                case _:
                    # A conversation that is committed does not begin anew.
                    break
        raise StopIteration

    def close(self) -> None:
        self._conversation.close()
