"""Answers that are true now and need not be in a moment: JSON that no cache may keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon

from foreman.domain.json_value import compact


def answer(resp: falcon.Response, body: Mapping[str, Any]) -> None:
    """Answer with ``body``; the status stays as it is."""
    resp.data = compact(body)
    resp.content_type = falcon.MEDIA_JSON
    resp.set_header("Cache-Control", "no-store")
