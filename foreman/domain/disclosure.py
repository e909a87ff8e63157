"""A setting as it may be shown to a person, or pasted into a bug report: whole, but for what is secret in it."""

from __future__ import annotations

import re
from dataclasses import replace

from foreman.domain.endpoint import Endpoint
from foreman.domain.setting import Value, plain

HIDDEN = "***"

#: Names of query parameters whose values are secret: libpq has ``password`` and ``sslpassword``, object stores others.
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|signature", re.IGNORECASE)


def shown(value: Value, *, secret: bool) -> str:
    """``value`` as the environment would hold it; of a ``secret`` one that is no URL only whether it is set."""
    if isinstance(value, tuple):
        return plain(tuple(_shown_endpoint(each) if isinstance(each, Endpoint) else each for each in value))  # type: ignore[arg-type]  # a tuple of one kind stays one
    text = plain(value)
    if not secret or not text:
        return text
    return shown_url(text) if "://" in text else HIDDEN


def shown_url(url: str) -> str:
    """``url`` without its password. A user alone goes too, since that may be a token, but for a database's."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    return f"{scheme}://{_authority(scheme, authority)}{slash}{path}{mark}{_query(query)}"


def _authority(scheme: str, authority: str) -> str:
    credentials, at, place = authority.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if colon:
        return f"{user}:{HIDDEN}@{place}"
    return authority if not at or scheme.startswith("postgres") else f"{HIDDEN}@{place}"


def _query(query: str) -> str:
    pairs = (each.partition("=") for each in query.split("&"))
    return "&".join(f"{name}{equals}{HIDDEN if _SECRET_NAME.search(name) else value}" for name, equals, value in pairs)


def _shown_endpoint(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, url=shown_url(endpoint.url), api_key=HIDDEN if endpoint.api_key else "")
