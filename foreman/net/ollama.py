"""Calls to Ollama itself: a preload with empty messages, then the job's own payload, which goes as it came."""

from __future__ import annotations

from collections.abc import Sequence

from foreman.domain import ollama_models
from foreman.domain.completion import Assembly, Completion
from foreman.domain.fault import Aborted, Fault
from foreman.domain.preload import preload
from foreman.domain.upstream import Survey
from foreman.net.call import LINE_LIMIT_B, Call, OnText, Reading, chat_bounds, load_bounds, probe_bounds


class OllamaCall(Call):
    """One use of an Ollama server. Source of the paths: Ollama's ``docs/api.md``."""

    def load(self, payload: bytes, *, timeout_s: float) -> Fault | Aborted | None:
        """As ``Call.load``."""
        body = preload(payload)
        if body is None:
            return Aborted() if self._aborted.is_set() else None
        outcome = self._stream("/api/chat", body, load_bounds(timeout_s), Reading(Assembly(LINE_LIMIT_B), _AsItIs()))
        return None if isinstance(outcome, Completion) else outcome

    def chat(
        self, payload: bytes, *, exec_timeout_s: float, stall_timeout_s: float, on_text: OnText | None = None
    ) -> Completion | Fault | Aborted:
        """As ``Call.chat``."""
        bounds = chat_bounds(exec_timeout_s, stall_timeout_s)
        # Spliced, since decoding and encoding twenty megabytes of images for one key would take a second.
        body = payload.rstrip()[:-1] + b',"stream":true}'
        return self._stream("/api/chat", body, bounds, Reading(self._assembly, _AsItIs(), on_text))

    def probe(self, timeout_s: float) -> Fault | None:
        """As ``Call.probe``: the server's version."""
        return self._answers("/api/version", timeout_s)

    def survey(self, timeout_s: float) -> Survey | Fault:
        """As ``Call.survey``."""
        bounds = probe_bounds(timeout_s)
        tags = self._list("/api/tags", bounds)
        if isinstance(tags, Fault):
            return tags
        loaded = self._list("/api/ps", bounds)
        if isinstance(loaded, Fault):
            return loaded
        return Survey(_names(tags), _names(loaded) or ())


def _names(body: bytes | None) -> tuple[str, ...] | None:
    return None if body is None else ollama_models.names(body)


class _AsItIs:
    """Ollama's lines are what everything here is written for."""

    def take(self, line: bytes) -> Sequence[bytes]:
        return (line,)

    def end(self) -> Sequence[bytes]:
        return ()
