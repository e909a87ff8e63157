"""A request's body: read no further than the limit, however it is framed, and decoded as the JSON of RFC 8259."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import NoReturn, Protocol

import falcon
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # it ships no types

from foreman.api.problems import (
    BAD_BODY,
    BAD_CODING,
    BAD_MEDIA_TYPE,
    BODY_TIMEOUT,
    NOT_JSON,
    TOO_LARGE,
    HTTPProblem,
)

#: Bytes read at a time.
PIECE_B = 64 * 1024
#: Bytes of a body over the limit that are still read, and thrown away: most clients look for no answer before they have
#: sent everything, and would see a broken connection in its place. Three times the default limit: more is no mistake.
MAX_DISCARDED_B = 64 * 1024 * 1024


class Readable(Protocol):
    """The body as a WSGI server or Falcon hands it over."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def read_json(req: falcon.Request, limit_b: int) -> object:
    r"""The body of ``req``, decoded; of two members with one name the last counts.

    A lone surrogate (``"\ud800"``) passes, as RFC 8259 section 8.2 leaves open; whoever stores it has to look.

    Raises:
        HTTPProblem: 415 if it does not say that it is plain JSON, 413 if it is over ``limit_b`` bytes, 400 if it did
            not arrive whole or is not JSON.
    """
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != falcon.MEDIA_JSON:
        raise HTTPProblem(BAD_MEDIA_TYPE)
    return decode(read_bytes(req, limit_b))


def read_bytes(req: falcon.Request, limit_b: int) -> bytes:
    """The body of ``req``, of whatever type.

    Raises:
        HTTPProblem: 415 if it is encoded, 413 if it is over ``limit_b`` bytes, 400 if it did not arrive whole.
    """
    if req.get_header("Content-Encoding", default="identity").strip().lower() != "identity":
        raise HTTPProblem(BAD_CODING)
    return _read(req, limit_b)


def decode(data: bytes) -> object:
    """``data`` as JSON. A byte order mark is passed over, as RFC 8259 section 8.1 allows.

    Raises:
        HTTPProblem: 400, and where the text stops to be JSON.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError:
        raise HTTPProblem(NOT_JSON, "The body is nested too deeply to be read.") from None
    except UnicodeDecodeError as error:
        raise HTTPProblem(NOT_JSON, f"The body must be UTF-8; byte {error.start} is not.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise HTTPProblem(NOT_JSON, f"The body is not JSON from {where} on: {error.msg}.") from None
    except ValueError:
        # Python's limit on the digits of an integer, far beyond what any reader holds.
        raise HTTPProblem(NOT_JSON, "The body has a number that is too long to be read.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON value", "", 0)


def _read(req: falcon.Request, limit_b: int) -> bytes:
    declared_b = req.content_length
    stream = _stream(req)
    if declared_b is not None and declared_b > limit_b:
        if declared_b <= MAX_DISCARDED_B:
            _discard(stream)
        raise _too_large(limit_b)
    pieces: list[bytes] = []
    size_b = 0
    while piece := _piece(stream):
        size_b += len(piece)
        if size_b > limit_b:
            pieces.clear()
            _discard(stream)
            raise _too_large(limit_b)
        pieces.append(piece)
    if declared_b is not None and size_b < declared_b:
        raise HTTPProblem(BAD_BODY)
    return b"".join(pieces)


def _stream(req: falcon.Request) -> Readable:
    """The body's bytes and then ``b""``. Falcon's own stream takes a chunked body, which has no length, for empty."""
    return req.stream if req.env.get("wsgi.input_terminated") else req.bounded_stream


def _piece(stream: Readable) -> bytes:
    try:
        return bytes(stream.read(PIECE_B))
    except (TimeoutError, BlockingIOError):
        # What a receive timeout on the listener's sockets shows as.
        raise HTTPProblem(BODY_TIMEOUT, headers={"Connection": "close"}) from None
    except (OSError, ParseException):
        # The client went away, or its chunks are not what they claim to be.
        raise HTTPProblem(BAD_BODY) from None


def _discard(stream: Readable) -> None:
    """Read what is left of a body that is refused, as far as that is worth it."""
    left_b = MAX_DISCARDED_B
    with suppress(HTTPProblem):  # a rest that does not come is no news: the body is refused already
        while left_b > 0 and (piece := _piece(stream)):
            left_b -= len(piece)


def _too_large(limit_b: int) -> HTTPProblem:
    return HTTPProblem(TOO_LARGE, f"The body must be at most {limit_b} bytes.")
