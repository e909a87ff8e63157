"""A browser without a screen: keeps its cookie, sends forms as a page of ours does, and reads HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

from falcon import testing

from foreman.api.ui.browser import COOKIE, TOKEN_FIELD
from tests.integration.api import Api

#: What a browser sends with a form of a page of the same site.
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Visitor:
    """Somebody at a browser."""

    api: Api
    cookie: str | None = None
    #: What the answers said of the cookie, in full.
    set_cookies: list[str] = field(default_factory=list)

    def get(self, path: str, **headers: str) -> testing.Result:
        """Look at a page."""
        return self._ask("GET", path, headers=headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> testing.Result:
        """Send a form of a page that was looked at before."""
        token = {} if self.cookie is None else {TOKEN_FIELD: self.form_token()}
        return self.post_raw(path, urlencode(token | (fields or {})), **SAME_SITE | headers)

    def post_raw(self, path: str, body: str, **headers: str) -> testing.Result:
        """Send these very bytes as a form, with no header but these."""
        return self._ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"} | headers)

    def form_token(self) -> str:
        """What the forms of its pages carry, from the one page that everybody may look at."""
        found = re.search(rf'name="{TOKEN_FIELD}" value="([0-9a-f]+)"', self.get("/ui/submit").text)
        assert found is not None
        return found[1]

    def sign_in(self, key: str) -> testing.Result:
        """Send the form to sign in."""
        self.get("/ui/login")
        return self.post("/ui/login", {"key": key, "back": "/ui"})

    def _ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> testing.Result:
        cookie = {} if self.cookie is None else {"Cookie": f"{COOKIE}={self.cookie}"}
        given = cookie | {name.replace("_", "-"): text for name, text in (headers or {}).items()}
        answer = self.api.client.simulate_request(method, path, body=body, headers=given)
        if COOKIE in answer.cookies:
            self.cookie = answer.cookies[COOKIE].value
            self.set_cookies.append(answer.headers["Set-Cookie"])
        return answer


class Outline(HTMLParser):
    """The elements of a page with their attributes, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._pieces: list[str] = []
        self.feed(html)

    @property
    def text(self) -> str:
        """All text, as it is."""
        return "".join(self._pieces)

    @property
    def words(self) -> str:
        """All text, as it reads: with a space between two elements, and never two."""
        return " ".join(" ".join(self._pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self._pieces.append(data)
