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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from urllib3.util.wait import wait_for_read

from foreman.clock import monotonic
from foreman.domain.address import Target
from foreman.domain.delivery import excerpt_of
from foreman.net.guard import Place

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
    """A connection to ``target``'s receiver that is established; whoever has it closes it."""

    def __init__(self, sock: socket.socket, target: Target) -> None:
        self.sock = sock
        self._reader = _Reader(sock.makefile("rb", buffering=0))
        self._leads_to = (target.scheme, target.host, target.port)
        #: When it was established, on the scale of ``clock.monotonic``.
        self.since = monotonic()
        #: Whether the last answer said where it ends, and whether it was read to there and the connection left open.
        self.ends_known = self.is_open = False

    def close(self) -> None:
        """Close the connection; a second time it does nothing."""
        self._reader.shut()
        self.sock.close()

    def leads_to(self, target: Target, places: Sequence[Place]) -> bool:
        """Whether this is still a connection to ``target``, which is at ``places`` now."""
        if self._leads_to != (target.scheme, target.host, target.port):
            return False
        try:
            address = self.sock.getpeername()[0]
        except OSError:
            return False  # it is none any more
        return any(place.sockaddr[0] == address for place in places)

    def exchange(self, target: Target, headers: Mapping[str, str], body: bytes, *, last: bool) -> Answer:
        """POST ``body`` to ``target`` and read the answer; ``last`` asks the receiver to close the connection then.

        Raises:
            OSError, HTTPException, ValueError: there was none, or it is not HTTP. ``FAILURES`` has them all.
        """
        self.ends_known = self.is_open = False
        self._reader.lines_b = 0
        _write(self.sock, _request(target, headers, body, last=last))
        response = http.client.HTTPResponse(self, method="POST")  # type: ignore[arg-type]  # all it asks is makefile
        response.begin()
        lengths = ",".join(response.headers.get_all("Content-Length", ()))
        if len({each.strip() for each in lengths.split(",")}) > 1:
            raise http.client.HTTPException("two lengths")  # RFC 9112 section 6.3: there is no telling where it ends
        self.ends_known = response.length is not None or bool(response.chunked)
        read, whole = _beginning(response)
        self.is_open = whole and not (last or response.will_close)
        return Answer(
            status=response.status,
            retry_after=response.headers.get("Retry-After", "")[:_RETRY_AFTER_CHARS] or None,
            excerpt=excerpt_of(read),
        )

    def makefile(self, *_: Any) -> _Reader:  # noqa: ANN401  as a socket's
        """What the answer is read from."""
        return self._reader

    def is_at_rest(self) -> bool:
        """Whether nothing has come since the answer: not the end, and nothing to be taken for the next answer."""
        if wait_for_read(self.sock, timeout=0):
            return False
        timeout_s = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            return not self._reader.peek(1)
        except OSError:
            return True  # TLS has a way of its own to say that there is nothing
        finally:
            self.sock.settimeout(timeout_s)


class _Reader(io.BufferedReader):
    """An answer's bytes. A line that ends without a line break, or lines without an end, are failures here.

    ``http.client`` takes the end of the connection for the end of the headers: a receiver cut off at the deadline
    within them would have answered.
    """

    #: Bytes of the lines of this answer.
    lines_b = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.lines_b += len(line)
        if self.lines_b > HEAD_LIMIT_B:
            raise http.client.LineTooLong("head")
        if not line.endswith(b"\n") and len(line) != size:
            raise ConnectionResetError
        return line

    def close(self) -> None:
        """Nothing: ``http.client`` closes it at the end of an answer, and the connection may go on."""

    def shut(self) -> None:
        """What ``close`` is elsewhere."""
        super().close()


def _request(target: Target, headers: Mapping[str, str], body: bytes, *, last: bool) -> bytes:
    own = {
        "Host": target.authority,
        "Content-Length": str(len(body)),
        "Accept-Encoding": "identity",
        "Connection": "close" if last else "keep-alive",
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**own, **headers, **own}.items())]
    if any(_LINE_END.search(line) for line in lines):
        raise ValueError("a header that is more than one line")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def _write(sock: socket.socket, request: bytes) -> None:
    try:
        sock.sendall(request)
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return  # a receiver may answer and close without reading it all, with 413 for example: read what it said


def _beginning(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """The body up to its limit, and whether that is all of it.

    The status has decided, so a body that breaks off or goes on for ever changes nothing. More is read than kept, since
    closing on unread bytes resets the connection under a receiver that still writes.
    """
    read = b""
    try:
        while len(read) < BODY_LIMIT_B and (data := response.read1(BODY_LIMIT_B - len(read))):
            read += data
    except FAILURES:
        return read, False
    return read, response.length == 0 or response.isclosed()
