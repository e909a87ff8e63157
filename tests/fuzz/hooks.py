"""What schemathesis cannot know of foreman; it loads this file by SCHEMATHESIS_HOOKS.

The formats whose meaning is foreman's own, and what no schema has words for: that a key is of one body, that a webhook
may not lead back to foreman, which is what URLs taken from its own answers do, and that an integer has 64 bits, while
the same number with an exponent may be any.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from foreman.api.headers import IDEMPOTENCY_KEY
from foreman.domain.json_value import INTEGERS

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
    case.body = _held(case.body)
    for name in ("state_webhook_url", "url"):
        if isinstance(case.body, dict) and str(case.body.get(name)).startswith(case.operation.base_url):
            case.body[name] = RECEIVER


def _held(value: Any) -> Any:
    """``value`` with its integers no further from zero than foreman holds them."""
    match value:
        case dict():
            return {key: _held(each) for key, each in value.items()}
        case list():
            return [_held(each) for each in value]
        case bool():
            return value
        case int():
            return min(max(value, INTEGERS.start), INTEGERS.stop - 1)
        case _:
            return value
