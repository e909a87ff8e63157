"""``/v1``: chats and models as OpenAI's clients know them, in the same queue as all others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from foreman.api.answer import respond
from foreman.api.chat import Reader, first_problem
from foreman.api.conversation import Desk, Failed, Line
from foreman.api.dialect import OPENAI, foreign
from foreman.api.lists import LIST_LIMIT_B, decoded, path_of_models, union
from foreman.api.parameter import Parameter
from foreman.api.passthrough import Counter
from foreman.clock import now
from foreman.domain.completion import Completion
from foreman.domain.json_value import compact
from foreman.domain.openai_front import Answer, models, native, wants_usage
from foreman.domain.shape import Text

MODEL_NAME = Parameter("model", "path", Text("must be a string"), "The name of the model.", "smollm2")


@dataclass(frozen=True, slots=True)
class ChatCompletionsResource:
    """``POST /v1/chat/completions``."""

    reader: Reader
    desk: Desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a chat, and answer in one piece or, ``"stream": true``, as server-sent events."""
        body = self.reader.body(req)
        with first_problem():
            chat = native(body)
        conversation = self.desk.begin(req, self.reader.request(req, chat))
        job = conversation.job
        answer = Answer(job.id, job.model, job.created_at // 1000, usage=wants_usage(body))
        respond(conversation, resp, OpenAIForm(answer), stream=body.get("stream") is True)


@dataclass(frozen=True, slots=True)
class OpenAIForm:
    """Chunks as server-sent events, ``[DONE]`` after the last."""

    answer: Answer

    @property
    def media_type(self) -> str:
        """Server-sent events."""
        return "text/event-stream"

    def line(self, line: Line) -> bytes:
        """The chunks of the next line; usually one."""
        events = [_event(compact(chunk)) for chunk in self.answer.chunks(line.value)]
        return b"".join([*events, *([_event(b"[DONE]")] if line.last else [])])

    def error(self, failed: Failed) -> bytes:
        """An event that the clients raise; nothing follows it."""
        return _event(self.refusal(failed))

    def whole(self, completion: Completion) -> bytes:
        """The completion object."""
        return compact(self.answer.whole(json.loads(completion.body)))

    def refusal(self, failed: Failed) -> bytes:
        """The error object."""
        return compact(foreign(OPENAI, failed.status, failed.message))


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


@dataclass(frozen=True, slots=True)
class ModelsResource:
    """``GET /v1/models``: what the upstreams have."""

    counter: Counter

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them."""
        resp.data = compact({"object": "list", "data": self._models(req)})
        resp.content_type = falcon.MEDIA_JSON

    def on_get_one(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        """Look one up: 404 if it is not in the list."""
        found: Mapping[str, Any] | None = next((each for each in self._models(req) if each["id"] == model), None)
        if found is None:
            raise falcon.HTTPNotFound(description=f"The model '{model}' does not exist.")
        resp.data = compact(found)
        resp.content_type = falcon.MEDIA_JSON

    def _models(self, req: falcon.Request) -> list[dict[str, Any]]:
        asked = [(way, path_of_models(way)) for way in self.counter.ways.all()]
        bodies = self.counter.fetch_all(req, asked, LIST_LIMIT_B)
        return union([models(decoded(body), now() // 1000) for body in bodies], "id")
