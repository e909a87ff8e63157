"""Calls to an OpenAI-compatible server, llama.cpp's, vLLM, LM Studio: which paths, and when the model is there."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from urllib3 import HTTPResponse

from foreman.clock import monotonic, now
from foreman.domain import openai_fault, openai_models, openai_request
from foreman.domain.completion import Completion
from foreman.domain.fault import Aborted, Fault, presentable
from foreman.domain.lifecycle import Cause
from foreman.domain.openai_answer import Answer, loaded
from foreman.domain.openai_models import Presence
from foreman.domain.upstream import Survey
from foreman.net.call import (
    COMPLETION_LIMIT_B,
    NO_LIST,
    OK,
    Bounds,
    Call,
    OnText,
    Reading,
    chat_bounds,
    load_bounds,
    probe_bounds,
)
from foreman.net.origin import Origin
from foreman.net.watchdog import Watchdog

#: Seconds between two looks at whether the model is in memory: the first wait, and the longest, each twice the one
#: before. A small model is there within the first; a large one takes minutes, of which two seconds are nothing.
FIRST_LOOK_S = 0.25
LAST_LOOK_S = 2.0

_VERSION = "/v1"


class OpenAICall(Call):
    """One use of an OpenAI-compatible server. The URL may name its ``/v1`` or what that lies below.

    Source of the paths: OpenAI's API reference; ``/health`` is llama.cpp's, ``tools/server/README.md``.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext, watchdog: Watchdog, connect_timeout_s: float) -> None:
        above = replace(origin, prefix=origin.prefix.removesuffix(_VERSION))
        super().__init__(above, tls, watchdog, connect_timeout_s)

    def load(self, payload: bytes, *, timeout_s: float) -> Fault | Aborted | None:
        """Wait until the server has the model; there is no call that loads one.

        llama.cpp and vLLM are started with their model. LM Studio, and others that load on demand, do so in ``chat``,
        under its bounds. A ``payload`` that cannot be expressed is found out here, before anything is sent.
        """
        asked = openai_request.read(payload)
        if isinstance(asked, Fault):
            return Aborted() if self._aborted.is_set() else asked
        bounds = load_bounds(timeout_s)
        pause_s = FIRST_LOOK_S
        while (presence := self._look(asked.model, bounds)) is Presence.LOADING:
            if self._aborted.wait(min(pause_s, max(0.0, bounds.deadline - monotonic()))):
                return Aborted()
            if monotonic() >= bounds.deadline:
                return bounds.overdue
            pause_s = min(2 * pause_s, LAST_LOOK_S)
        if presence is Presence.ABSENT:
            message = f'The upstream has no model "{presentable(asked.model)}".'
            return Fault(Cause.MODEL_NOT_FOUND, message, retry=False)
        return None if isinstance(presence, Presence) else presence

    def chat(
        self, payload: bytes, *, exec_timeout_s: float, stall_timeout_s: float, on_text: OnText | None = None
    ) -> Completion | Fault | Aborted:
        """As ``Call.chat``."""
        asked = openai_request.read(payload)
        if self._aborted.is_set():
            return Aborted()
        if isinstance(asked, Fault):
            return asked
        if asked.body is None:
            return self._assemble([loaded(asked.model, now())], self._assembly, on_text) or self._assembly.finish()
        bounds = chat_bounds(exec_timeout_s, stall_timeout_s)
        reading = Reading(self._assembly, _Timed(Answer(asked.model, COMPLETION_LIMIT_B)), on_text)
        return self._stream(f"{_VERSION}/chat/completions", asked.body, bounds, reading)

    def probe(self, timeout_s: float) -> Fault | None:
        """As ``Call.probe``: the list of models."""
        return self._answers(f"{_VERSION}/models", timeout_s)

    def survey(self, timeout_s: float) -> Survey | Fault:
        """As ``Call.survey``."""
        body = self._list(f"{_VERSION}/models", probe_bounds(timeout_s))
        if isinstance(body, Fault):
            return body
        return Survey() if body is None else openai_models.survey(body)

    def _look(self, model: str, bounds: Bounds) -> Presence | Fault | Aborted:
        presence = self._exchange(
            "GET", f"{_VERSION}/models", None, bounds, partial(self._judge_list, model=model, bounds=bounds)
        )
        if presence is not Presence.UNSURE:
            return presence
        return self._exchange("GET", "/health", None, bounds, partial(self._judge_health, bounds=bounds))

    def _judge_list(self, response: HTTPResponse, *, model: str, bounds: Bounds) -> Presence | Fault:
        if response.status == OK:
            body = self._whole(response)
            return body if isinstance(body, Fault) else openai_models.judge(body, model)
        if response.status in NO_LIST:
            return Presence.READY
        text = self._excuse(response, bounds)
        if openai_fault.is_loading(response.status, text):
            return Presence.LOADING
        if monotonic() >= bounds.deadline:
            return bounds.overdue  # what it said of itself may be cut off
        return self._refused(response.status, text, retry_after=response.headers.get("Retry-After"))

    def _judge_health(self, response: HTTPResponse, *, bounds: Bounds) -> Presence:
        # Read to its end in any case, or the connection could not be used for the chat.
        text = self._excuse(response, bounds)
        return Presence.LOADING if openai_fault.is_loading(response.status, text) else Presence.READY

    def _refused(self, status: int, text: str, *, retry_after: str | None) -> Fault:
        return openai_fault.refused(status, text, retry_after=retry_after)


class _Timed:
    """An ``Answer`` with the clock beside it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._began = monotonic()

    def take(self, line: bytes) -> Sequence[bytes] | Fault:
        return self._answer.take(line, now(), self._elapsed_ns())

    def end(self) -> Sequence[bytes] | Fault:
        return self._answer.end(now(), self._elapsed_ns())

    def _elapsed_ns(self) -> int:
        return round((monotonic() - self._began) * 1e9)
