"""What schemathesis cannot know of foreman; it loads this file by SCHEMATHESIS_HOOKS.

The formats whose meaning is foreman's own, and what no schema has words for: that a key is of one body, and that a
webhook may not lead back to foreman, which is what URLs taken from its own answers do.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from foreman.api.headers import IDEMPOTENCY_KEY

#: Where webhooks may go in the installation that is tested; which others may not is the settings' affair.
RECEIVER = os.environ.get("FUZZ_RECEIVER", "https://hooks.example.com/")

schemathesis.openapi.format("uri", st.integers(0, 99).map(lambda number: f"{RECEIVER}?{number}"))
schemathesis.openapi.format(
    "json-object", st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2).map(json.dumps)
)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Make what is about to be sent right where only the server's state makes it wrong."""
    key = (case.headers or {}).get(IDEMPOTENCY_KEY.name)
    if isinstance(key, str) and IDEMPOTENCY_KEY.shape.fits(key.strip()):  # type: ignore[attr-defined]
        case.headers[IDEMPOTENCY_KEY.name] = hashlib.sha256(repr(case.body).encode()).hexdigest()
    for name in ("state_webhook_url", "url"):
        if isinstance(case.body, dict) and str(case.body.get(name)).startswith(case.operation.base_url):
            case.body[name] = RECEIVER
