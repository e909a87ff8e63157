"""The call that only loads a model: what it takes over from a job's payload, and what a ``keep_alive`` means."""

from __future__ import annotations

import json
import re

from foreman.domain.json_value import compact, is_number
from foreman.domain.shape import ByType, Text, Typed

#: Seconds per unit of a Go duration. Source: https://pkg.go.dev/time#ParseDuration
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
#: The second is a number in a string, such as ``"-1"``: Ollama's own environment variable takes it, so people write it
#: here as well.
_DURATION, _BARE = rf"[+-]?(?:{_TERM})+", r"[+-]?[0-9]+\.?[0-9]*"
#: Characters; the longest sensible duration, ``"2562047h47m16.854775807s"``, has 24.
_MAX_CHARS = 64

_RIGHT = 'must be a number of seconds or a duration such as "5m"'
_TEXT = Text(_RIGHT, pattern=f"{_DURATION}|{_BARE}", max_chars=_MAX_CHARS)
#: What a ``keep_alive`` may be: in seconds, or a Go duration.
KEEP_ALIVE = ByType((Typed(("number",), _RIGHT), _TEXT), _RIGHT)

#: Ollama counts in whole nanoseconds, so what is shorter is zero.
_SHORTEST_S = 1e-9


def keep_alive_s(value: object) -> float | None:
    """What Ollama reads ``value`` as, in seconds; negative is for ever; ``None`` when it is no ``keep_alive`` at all.

    Source: ``Duration.UnmarshalJSON`` in Ollama's ``api/types.go``: a number is seconds, a string a Go duration.
    """
    if isinstance(value, str):
        return _duration_s(value)
    return value if is_number(value) else None


def _duration_s(text: str) -> float | None:
    if len(text) > _MAX_CHARS or not _TEXT.fits(text):
        return None
    if re.fullmatch(_BARE, text):
        return float(text)
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(_TERM, text))
    return -total_s if text.startswith("-") else total_s


def preload(payload: bytes) -> bytes | None:
    """The body of the call that gets the model of ``payload`` into memory, or ``None`` when nothing is to be loaded.

    It has the same ``model``, ``options`` and ``keep_alive``, since another ``num_ctx`` would load the model anew.
    """
    job = json.loads(payload)
    unloads = _means_zero(job.get("keep_alive"))
    if unloads and not job["messages"]:
        # This job asks to unload: loading first would do the work only to throw it away.
        return None
    # With empty messages Ollama takes a keep_alive of zero as "unload", the opposite of what this call is for.
    keys = ("model", "options") if unloads else ("model", "options", "keep_alive")
    return compact({key: job[key] for key in keys if key in job} | {"messages": [], "stream": False})


def _means_zero(keep_alive: object) -> bool:
    seconds = keep_alive_s(keep_alive)
    return seconds is not None and abs(seconds) < _SHORTEST_S
