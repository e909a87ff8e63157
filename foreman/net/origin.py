"""Where the upstream is: its URL taken apart once into what a connection and a request line need."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from foreman.errors import SettingInvalid

_PORTS = {"http": 80, "https": 443}

#: Bytes. A shorter secret is a word, or part of many, and would blot out what people are to read.
_SHORTEST_B = 6

#: What a URL is written in, RFC 3986. Anything else, a line break above all, could end a request line early.
_URL = re.compile(r"[!#-;=?-\[\]_a-z~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """One server. ``prefix`` goes before every path; ``headers`` go with every request and may hold a password."""

    host: str
    port: int
    tls: bool
    prefix: str
    headers: dict[str, str] = field(repr=False)

    def concealed(self, data: bytes) -> bytes:
        """What the server said, with asterisks for our credentials: one that refuses them may quote them.

        Not for secrets of fewer than ``_SHORTEST_B`` bytes.
        """
        for secret in _secrets(self.headers.get("Authorization", "")):
            if len(secret) >= _SHORTEST_B:
                data = data.replace(secret, b"*" * len(secret))
        return data


def parse(url: str) -> Origin:
    """Take ``http[s]://[user:password@]host[:port][/prefix]`` apart.

    Raises:
        SettingInvalid: ``upstream.url`` is anything else. The message does not repeat the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid() from None
    if not _URL.fullmatch(url) or parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise _invalid()
    return Origin(
        host=parts.hostname,
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "https",
        prefix=parts.path.rstrip("/"),
        headers={"Host": parts.netloc.rpartition("@")[2]} | _authorization(parts),
    )


def _authorization(parts: SplitResult) -> dict[str, str]:
    """Basic credentials from the URL, RFC 7617; percent-encoded there, so that they may hold ``@`` and ``:``."""
    if parts.username is None:
        return {}
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def _secrets(authorization: str) -> tuple[bytes, ...]:
    """What is secret in the value of the header: the whole, and what it is made of."""
    kind, _, given = authorization.partition(" ")
    if kind != "Basic":
        return (given.encode(),)
    pair = base64.b64decode(given)
    return (given.encode(), pair.partition(b":")[2])


def _invalid() -> SettingInvalid:
    return SettingInvalid("upstream.url", "must look like http://host:11434, https and a path prefix if need be")
