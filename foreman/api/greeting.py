"""``/``: where Ollama's clients look first, to learn whether there is a server."""

from __future__ import annotations

import falcon

PATH = "/"

#: Ollama's own words, which some clients compare.
GREETING = "Ollama is running"


class GreetingResource:
    """``GET`` and ``HEAD /``: Ollama's command line sends the latter before each of its commands."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say so, however the upstream is: a chat is taken on, and waits for it."""
        resp.content_type = falcon.MEDIA_TEXT
        resp.cache_control = ["no-store"]
        resp.text = GREETING

    on_head = on_get
