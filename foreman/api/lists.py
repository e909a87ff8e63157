"""The lists of models of several upstreams as one, in Ollama's form; those of one are handed on as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import falcon

from foreman.api.passthrough import Counter
from foreman.domain.json_value import compact, unkeepable
from foreman.net.passthrough import Passthrough

#: Where models are listed: by Ollama, by OpenAI-compatible servers, and those in memory, by Ollama.
TAGS, MODELS, LOADED = "/api/tags", "/v1/models", "/api/ps"

#: Bytes of a list of models that are read: some ten thousand of them.
LIST_LIMIT_B = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ListResource:
    """``GET /api/tags`` or ``/api/ps``."""

    counter: Counter
    path: str

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Hand it on to the one upstream, or put the answers of all together."""
        ways = [(way, path) for way in self.counter.ways.all() if (path := self._path_at(way)) is not None]
        if self.counter.ways.single is not None or not ways:
            self.counter.hand_on(req, resp, self.path, None)
            return
        found = [_entries(body) for body in self.counter.fetch_all(req, ways, LIST_LIMIT_B)]
        resp.data = compact({"models": union(found, "model", "name")})
        resp.content_type = falcon.MEDIA_JSON

    def _path_at(self, way: Passthrough) -> str | None:
        """What to ask the upstream for; ``None``: it cannot tell."""
        if not way.openai:
            return self.path
        return path_of_models(way) if self.path == TAGS else None


def path_of_models(way: Passthrough) -> str:
    """Where an upstream lists its models; an OpenAI-compatible one may have its ``/v1`` in its URL already."""
    if not way.openai:
        return TAGS
    return MODELS.removeprefix("/v1") if way.origin.prefix.endswith("/v1") else MODELS


def union(lists: Iterable[list[dict[str, Any]] | None], *keys: str) -> list[dict[str, Any]]:
    """The entries of all lists, each name once: the first of ``keys`` that an entry has. ``None`` is no list.

    Raises:
        HTTPError: 502: there is no list among them.
    """
    good = [each for each in lists if each is not None]
    if not good:
        raise falcon.HTTPError(HTTPStatus.BAD_GATEWAY, description="The upstream sent no list of models.")
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for each in good for entry in each):
        name = next((entry[key] for key in keys if isinstance(entry.get(key), str)), None)
        if name is not None:
            found.setdefault(name, entry)
    return list(found.values())


def decoded(body: bytes) -> dict[str, Any] | None:
    """A list of models as it came; ``None``: it is none, or has what no answer can have, as half a surrogate pair."""
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return listed if isinstance(listed, dict) and not any(unkeepable(listed)) else None


def _entries(body: bytes) -> list[dict[str, Any]] | None:
    """Ollama's entries as they are; of OpenAI's the names, in Ollama's form."""
    match decoded(body):
        case {"models": list(entries)}:
            return [each for each in entries if isinstance(each, dict)]
        case {"data": list(entries)}:
            return [{"name": each.get("id"), "model": each.get("id")} for each in entries if isinstance(each, dict)]
        case _:
            return None
