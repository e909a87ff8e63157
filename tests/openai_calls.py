"""Calls to the fake OpenAI-compatible server as the tests of the client make them."""

from __future__ import annotations

import json
from typing import Any

from foreman.domain.completion import Completion
from foreman.net.upstream import Call, make_upstream


def connected(url: str, api_key: str | None = None) -> Call:
    """A call to the server at ``url``, its connection open."""
    call = make_upstream("openai", url, 5, api_key).connect()
    assert isinstance(call, Call)
    return call


def completed(outcome: object) -> dict[str, Any]:
    """A completion, decoded."""
    assert isinstance(outcome, Completion), outcome
    body: dict[str, Any] = json.loads(outcome.body)
    return body
