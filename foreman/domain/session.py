"""Who looks at the page: how long a sign-in lasts, and whether a form was sent by the page itself.

A browser holds one token, 32 random bytes in a cookie. Where keys are on and somebody has signed in, its SHA-256 finds
the session; a form carries an HMAC of the token, which no other site can know.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from foreman.domain.job import Moment

#: Milliseconds a sign-in lasts: a working day, so that a browser left open does not stay signed in over night.
LIFE_MS = 12 * 3_600_000

#: What the form's HMAC is of: a token means one thing only.
_PURPOSE = b"foreman ui form"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in: for which key, and until when."""

    key_id: str
    expires_at: Moment


def is_token(text: str | None) -> bool:
    """Whether ``text`` can be a browser's token: 43 characters of base64url."""
    return text is not None and _TOKEN.fullmatch(text) is not None


def form_token(token: str) -> str:
    """What the forms of the browser with this token carry, hex."""
    return hmac.new(token.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def is_from_page(*, fetch_site: str | None, origin: str | None, host: str, public_url: str) -> bool:
    """Whether a browser says that a form was sent by a page of ours: the headers ``Sec-Fetch-Site`` and ``Origin``.

    Source: W3C Fetch Metadata, section 2.3. A browser sends the first only to https and to loopback; the second then
    tells, which must be the ``host`` that was asked or that of ``public_url``. One that sends neither is not believed.
    """
    if fetch_site is not None:
        return fetch_site == "same-origin"
    if not host or origin is None:
        return False
    public = urlsplit(public_url)
    ours = {f"http://{host}", f"https://{host}", f"{public.scheme}://{public.netloc}"}
    return origin.lower() in {each.lower() for each in ours}


def is_sent(token: str | None, given: str) -> bool:
    """Whether ``given`` is the form token of the browser with ``token``."""
    return token is not None and hmac.compare_digest(form_token(token).encode(), given.encode())
