"""``/openapi.json`` and ``/docs``: the description of the API, for programs and as a page to browse."""

from __future__ import annotations

import hashlib
from functools import cached_property

import falcon

from foreman.api.assets import Assets
from foreman.api.description.document import describe
from foreman.api.headers import unchanged
from foreman.api.page import send_page
from foreman.domain.json_value import compact

DOCUMENT, PAGE = "/openapi.json", "/docs"


class DocumentResource:
    """``GET /openapi.json``: made when it is first asked for, and the same from then on."""

    def __init__(self, *, keys: bool) -> None:
        self._keys = keys

    @cached_property
    def _body(self) -> bytes:
        return compact(describe(keys=self._keys))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send it; 304 if the client has it."""
        etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        if unchanged(req, resp, etag, "no-cache"):
            return
        resp.data = self._body
        resp.content_type = falcon.MEDIA_JSON

    on_head = on_get


class DocsResource:
    """``GET /docs``: Swagger UI on the document, from files of the package alone."""

    def __init__(self, assets: Assets) -> None:
        self._html = _HTML.format(
            document=DOCUMENT,
            style=assets.url("docs/swagger-ui.css"),
            bundle=assets.url("docs/swagger-ui-bundle.js"),
            start=assets.url("docs/start.js"),
            icon=assets.url("ui/foreman.svg"),
        )

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Send the page."""
        send_page(resp, self._html)

    on_head = on_get


_HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>foreman API</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body>
<noscript>This page needs JavaScript; the description itself is <a href="{document}">{document}</a>.</noscript>
<main id="docs" data-document="{document}"></main>
<script src="{bundle}"></script>
<script src="{start}"></script>
</body>
</html>
"""
