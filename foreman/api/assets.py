"""``/assets/…``: the files that pages are made of, as they are shipped in the package, and nothing that is not there.

A page links to ``Assets.url(name)``, which changes with the file and so may be kept for good. The same path without its
``?v=`` may be kept as well, and has to be asked about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import falcon

from foreman.api.headers import unchanged
from foreman.api.parameter import Parameter
from foreman.api.problems import NO_ROUTE, HTTPProblem
from foreman.domain.shape import Text

#: Where the package has them; what lies below is served, so nothing else may.
DIRECTORY = Path(__file__).parents[1] / "web" / "assets"

#: What paths of assets begin with. They tell nothing of an installation, so they need no key.
PREFIX = "/assets/"
#: Files lie in a folder for each page.
ROUTE = PREFIX + "{page}/{name}"

#: What a file is, by how its name ends. A file of another kind is not shipped: browsers are told not to guess.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}

#: Hexadecimal digits of a file's SHA-256 in its URL: 64 bits, and nobody tries to make two files alike.
DIGEST_CHARS = 16

#: A year, the most that RFC 9111 wants anybody to believe.
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_FIRST = "public, no-cache"


PAGE = Parameter("page", "path", Text("must be a page's name"), "The page whose file it is.", "docs")
NAME = Parameter("name", "path", Text("must be a file's name"), "The file's name.", "swagger-ui.css")
VERSION = Parameter("v", "query", Text("must be a string"), "The digest in the file's URL: kept unasked with it.")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    media_type: str
    body: bytes = field(repr=False)
    digest: str


def read_assets(directory: Path = DIRECTORY) -> dict[str, Asset]:
    """Every file in a folder of ``directory``, by its path from there: ``docs/swagger-ui.css``.

    Raises:
        KeyError: a file is of a kind that is not in ``MEDIA_TYPES``.
    """
    return {path.relative_to(directory).as_posix(): _read(path) for path in sorted(directory.glob("*/*"))}


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(MEDIA_TYPES[path.suffix], body, hashlib.sha256(body).hexdigest()[:DIGEST_CHARS])


class Assets:
    """``GET`` and ``HEAD`` of one file; all are in memory, so no path that is asked for ever reaches the disk."""

    def __init__(self, files: Mapping[str, Asset]) -> None:
        self._files = files

    def url(self, name: str) -> str:
        """Where a page finds the file of this name: another URL for other bytes.

        Raises:
            KeyError: there is no such file.
        """
        return f"{PREFIX}{name}?v={self._files[name].digest}"

    def on_get(self, req: falcon.Request, resp: falcon.Response, page: str, name: str) -> None:
        """Send the file; 304 if the client has it."""
        asset = self._files.get(f"{page}/{name}")
        if asset is None:
            raise HTTPProblem(NO_ROUTE)
        etag = f'"{asset.digest}"'
        resp.set_header("X-Content-Type-Options", "nosniff")
        if unchanged(req, resp, etag, _FOR_GOOD if req.params.get("v") == asset.digest else _ASK_FIRST):
            return
        resp.content_type = asset.media_type
        resp.data = asset.body

    on_head = on_get


@cache
def shipped() -> Assets:
    """The files of this package, read once."""
    return Assets(read_assets())
