"""The request headers foreman reads by itself: ``Idempotency-Key``, ``Prefer``, ``If-None-Match``, ``Range``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman.api.parameter import Parameter
from foreman.api.problems import BAD_RANGE, HTTPProblem
from foreman.api.waiting import MAX_WAIT_S
from foreman.domain.shape import Text

#: Contract section 1. Anything but printable ASCII could not be written into a log or a URL. Blanks around it never get
#: here: HTTP takes them off.
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    Text("must be 1 to 255 printable ASCII characters", pattern="[!-~](?:[ -~]{0,253}[!-~])?"),
    "Under which the same submission may be repeated: it makes one job. It lives as long as its job.",
    "order-1234",
)

_ANY = Text("must be a string")
PREFER = Parameter(
    "Prefer",
    "header",
    _ANY,
    f"`wait=<seconds>`, up to {MAX_WAIT_S}: answer with the job if it ends by then.",
    "wait=10",
)
IF_NONE_MATCH = Parameter("If-None-Match", "header", _ANY, "An earlier answer's `ETag`: `304` if nothing has changed.")
RANGE = Parameter("Range", "header", _ANY, "One range of bytes, such as `bytes=0-99`; anything else is the whole.")
IF_RANGE = Parameter("If-Range", "header", _ANY, "The `ETag` for which `Range` holds; the whole if it is another.")
LAST_EVENT_ID = Parameter("Last-Event-ID", "header", _ANY, "The id of the last event seen; the stream goes on there.")

#: RFC 7240 section 2: preferences are separated by commas, and a quoted value may hold one; a quote that
#: nothing ends reaches to the end.
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|$))+')

#: RFC 9110 section 8.8.3: an entity tag, weak or strong.
_ETAG = re.compile(r'(?:W/)?("[^"]*")')

#: RFC 9110 section 14.1.2: one range of bytes. A list of them is answered as if it were none: section 14.2 allows it.
_RANGE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.IGNORECASE | re.ASCII)

#: Digits of an offset that are read; more are beyond any artifact just the same.
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` up to, not including, ``end`` of ``size_b``."""

    start: int
    end: int
    size_b: int

    @property
    def content_range(self) -> str:
        """The header of a 206."""
        return f"bytes {self.start}-{self.end - 1}/{self.size_b}"


def idempotency_key(req: falcon.Request) -> str | None:
    """The key under which the submission may be repeated; ``None`` without one.

    Raises:
        HTTPProblem: 400 if it is empty, too long or not printable ASCII.
    """
    key = req.get_header(IDEMPOTENCY_KEY.name)
    return None if key is None else str(IDEMPOTENCY_KEY.read(key))


def preferred_wait_s(req: falcon.Request) -> int | None:
    """Seconds of ``Prefer: wait=``, no more than ``MAX_WAIT_S``; ``None`` without a usable one.

    RFC 7240: the first of several counts, and what is malformed or unknown is ignored, never an error.
    """
    for preference in _PREFERENCE.findall(req.get_header("Prefer", default="")):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            digits = value.strip().strip('"')
            usable = digits.isascii() and digits.isdigit()
            return min(int(digits[-_MOST_DIGITS:]), MAX_WAIT_S) if usable else None
    return None


def unchanged(req: falcon.Request, resp: falcon.Response, etag: str, cache_control: str) -> bool:
    """Tell the client the answer's tag and how to keep it; true: it has that very answer, and 304 is all it gets."""
    resp.set_header("ETag", etag)
    resp.set_header("Cache-Control", cache_control)
    has_it = etag_matches(req, etag)
    if has_it:
        resp.status = HTTPStatus.NOT_MODIFIED
    return has_it


def etag_matches(req: falcon.Request, etag: str) -> bool:
    """Whether ``If-None-Match`` names ``etag`` or is ``*``: the client has it already. RFC 9110 section 13.1.2."""
    given = req.get_header("If-None-Match", default="")
    return given.strip() == "*" or etag in _ETAG.findall(given)


def byte_span(req: falcon.Request, etag: str, size_b: int) -> Span | None:
    """The part that ``Range`` asks for; ``None``: the whole, since it asks for none, several or in a way unknown.

    A range with an ``If-Range`` counts only if that is ``etag``; RFC 9110 section 13.1.5.

    Raises:
        HTTPProblem: 416 if nothing of the range is there.
    """
    match = _RANGE.fullmatch(req.get_header("Range", default=""))
    if match is None or req.get_header("If-Range", default=etag).strip() != etag:
        return None
    first, last = (
        (int(text) if len(text) <= _MOST_DIGITS else 10**_MOST_DIGITS) if text else None for text in match.groups()
    )
    if first is None and last is None:
        return None
    if first is None:
        start, end = size_b - min(last or 0, size_b), size_b
    elif last is not None and last < first:
        return None
    else:
        start, end = first, size_b if last is None else min(last + 1, size_b)
    if start >= end:
        raise HTTPProblem(BAD_RANGE, headers={"Content-Range": f"bytes */{size_b}"})
    return Span(start, end, size_b)
