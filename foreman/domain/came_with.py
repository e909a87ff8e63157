"""What comes with a request for those who watch: its id, and where it stands in a trace. Both are the client's words.

A traceparent is the header of W3C Trace Context: ``00-<32 hex: the trace>-<16 hex: the span>-<2 hex: flags>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What an ``X-Request-Id`` may be: ids of all kinds, and nothing that could pass for another field of a log line.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)

#: Section 3.2 of the specification. A later version may have more behind this, and its first two digits differ.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

#: The flags that version 00 knows: sampled, and that the trace's id is random.
_FLAGS = 0b11


@dataclass(frozen=True, slots=True)
class CameWith:
    """What came with a job's submission; ``None``: nothing, or nothing that can be used."""

    request_id: str | None = None
    traceparent: str | None = None


NOTHING = CameWith()


def request_id_of(header: str | None) -> str | None:
    """The id that a client gave its request, if it is sane."""
    return header if header is not None and _REQUEST_ID.fullmatch(header) else None


def traceparent_of(header: str | None) -> str | None:
    """A header ``traceparent`` in the form of version 00; ``None`` for none, and for one that is not valid."""
    found = None if header is None else _TRACEPARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    return None if version == "00" and more else f"00-{trace_id}-{span_id}-{int(flags, 16) & _FLAGS:02x}"


def trace_header(traceparent: str | None) -> dict[str, str]:
    """What tells the next of a trace: one header, or none."""
    return {} if traceparent is None else {"traceparent": traceparent}
