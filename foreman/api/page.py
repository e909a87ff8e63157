"""What every page of HTML is sent with: a policy under which a browser runs and asks nothing but foreman's."""

from __future__ import annotations

import falcon

#: Content Security Policy, level 3. Scripts and styles are files of foreman's; what a model or a receiver wrote can be
#: neither. ``data:`` is for the pictures within style sheets. No other site may show the page in a frame of its own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def send_page(resp: falcon.Response, html: str) -> None:
    """Answer with a page; the status stays as it is."""
    resp.text = html
    resp.content_type = falcon.MEDIA_HTML
    resp.set_header("Content-Security-Policy", POLICY)
    resp.set_header("Cache-Control", "no-store")
    resp.set_header("Referrer-Policy", "no-referrer")
    resp.set_header("X-Content-Type-Options", "nosniff")
