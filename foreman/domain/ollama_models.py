"""What Ollama's lists of models tell: ``/api/tags`` those that there are, ``/api/ps`` those in memory."""

from __future__ import annotations

import json

from foreman.domain.json_value import is_unicode


def names(body: bytes) -> tuple[str, ...] | None:
    """The models in a list; ``None`` if ``body`` is none. Source of its form: Ollama's ``docs/api.md``.

    A name that has no UTF-8 form is left out: no job can ask for it, and no database keep it.
    """
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match listed:
        case {"models": list(entries)}:
            found = (each.get("model") or each.get("name") for each in entries if isinstance(each, dict))
            return tuple(name for name in found if isinstance(name, str) and name and is_unicode(name))
        case _:
            return None
