"""One connection to a receiver: what is written to it, and what is read from it in bounds.

``http.client`` reads the answer. The request is written here, since it takes the head and the body of each in two
packets, and header lines from whoever calls it.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from foreman.domain.address import Target
from foreman.domain.delivery import excerpt_of

#: Bytes of an answer's body that are read. Contract section 5.
BODY_LIMIT_B = 16_384

#: Bytes of an answer's head that are read, interim answers included: four times what Node.js lets anybody send, and it
#: ends an endless row of ``100 Continue`` early.
HEAD_LIMIT_B = 65_536

#: Characters of ``Retry-After`` that are kept; the longest HTTP-date has 33.
_RETRY_AFTER_CHARS = 64

#: What a receiver can make the HTTP code raise. Of its own it lets ValueError out for numbers of absurd length.
FAILURES = (OSError, http.client.HTTPException, ValueError)

#: What would end a header line, or the head, before its time.
_LINE_END = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said, as far as it counts."""

    status: int
    retry_after: str | None
    excerpt: str


class Wire:
    """A connection that is established, for as long as the ``with`` block lasts."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = _Reader(sock.makefile("rb", buffering=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._reader.close()
        self.sock.close()

    def exchange(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST ``body`` to ``target`` and read the answer.

        Raises:
            OSError, HTTPException, ValueError: there was none, or it is not HTTP. ``FAILURES`` has them all.
        """
        _write(self.sock, _request(target, headers, body))
        response = http.client.HTTPResponse(self, method="POST")  # type: ignore[arg-type]  # all it asks is makefile
        response.begin()
        lengths = ",".join(response.headers.get_all("Content-Length", ()))
        if len({each.strip() for each in lengths.split(",")}) > 1:
            raise http.client.HTTPException("two lengths")  # RFC 9112 section 6.3: there is no telling where it ends
        return Answer(
            status=response.status,
            retry_after=response.headers.get("Retry-After", "")[:_RETRY_AFTER_CHARS] or None,
            excerpt=excerpt_of(_beginning(response)),
        )

    def makefile(self, *_: Any) -> _Reader:  # noqa: ANN401  as a socket's
        """What the answer is read from."""
        return self._reader


class _Reader(io.BufferedReader):
    """An answer's bytes. A line that ends without a line break, or lines without an end, are failures here.

    ``http.client`` takes the end of the connection for the end of the headers: a receiver cut off at the deadline
    within them would have answered.
    """

    _lines_b = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._lines_b += len(line)
        if self._lines_b > HEAD_LIMIT_B:
            raise http.client.LineTooLong("head")
        if not line.endswith(b"\n") and len(line) != size:
            raise ConnectionResetError
        return line


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    own = {
        "Host": target.authority,
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in (own | dict(headers)).items())]
    if any(_LINE_END.search(line) for line in lines):
        raise ValueError("a header that is more than one line")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def _write(sock: socket.socket, request: bytes) -> None:
    try:
        sock.sendall(request)
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return  # a receiver may answer and close without reading it all, with 413 for example: read what it said


def _beginning(response: http.client.HTTPResponse) -> bytes:
    """The body up to its limit. The status has decided, so a body that breaks off or goes on for ever changes nothing.

    More is read than kept, since closing on unread bytes resets the connection under a receiver that still writes.
    """
    read = b""
    try:
        while len(read) < BODY_LIMIT_B and (data := response.read1(BODY_LIMIT_B - len(read))):
            read += data
    except FAILURES:
        return read
    return read
