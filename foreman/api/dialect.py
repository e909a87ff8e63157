"""How errors are written for clients that were made for another server: by the path that they ask."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from foreman.api.shown import OllamaError, OpenAIError

#: Below these paths foreman is taken for Ollama and for OpenAI.
OLLAMA, OPENAI = "/api", "/v1"

#: What OpenAI calls these.
_CODES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
}


def foreign(path: str, status: int, message: str) -> OllamaError | OpenAIError | None:
    """The body of an error as the clients that ask ``path`` read it; ``None`` where that is foreman's own form.

    Source: Ollama's ``docs/api.md`` and OpenAI's API reference, section "Error codes".
    """
    path = "/" + path.lstrip("/")  # as routes are found
    if _is_below(path, OLLAMA):
        return {"error": message}
    if _is_below(path, OPENAI):
        return {"error": {"message": message, "type": _type_of(status), "param": None, "code": _CODES.get(status)}}
    return None


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _type_of(status: int) -> Literal["invalid_request_error", "not_found_error", "server_error"]:
    match status:
        case HTTPStatus.NOT_FOUND:
            return "not_found_error"
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return "invalid_request_error"
        case _:
            return "server_error"
