"""Requests as bytes on a socket, with what no HTTP library would send: broken lines, lengths, chunks and headers."""

from __future__ import annotations

import http.client
import random
import socket

from tests.fuzz.grammar import Request
from tests.fuzz.oracle import Answer

#: Seconds after which an answer counts as none: nothing that is asked here takes long.
PATIENCE_S = 40.0

_LINES = (
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1, 2\r\n", b"Content-Length: 0x5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer-Encoding: x\r\n"),
    *(
        b"Host: a\r\nHost: b\r\n",
        b"X\r\n",
        b": x\r\n",
        b" folded\r\n",
        b"X : y\r\n",
        b"X: \0\r\n",
        b"X: a\rb\r\n",
        b"X: \xff\xfe\r\n",
    ),
    *(
        b"Expect: 100-continue\r\n",
        b"Expect: x\r\n",
        b"Upgrade: h2c\r\n",
        b"Connection: close, keep-alive\r\n",
        b"X_Y: z\r\n",
    ),
    *(
        b"X: " + b"a" * 9000 + b"\r\n",
        b"X: y\r\n" * 150,
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"\r\n",
        b"\n",
        b"\r\r\n",
    ),
)
_FIRST_LINES = (
    *(
        b"GET",
        b"",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / HTTP/0.9",
        b"GET /jobs HTTP/1.0",
        b"get / HTTP/1.1",
        b"\x16\x03\x01\x02",
    ),
    *(
        b"GET http://[::1/ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"G\0T / HTTP/1.1",
    ),
    *(
        b"GET //evil/%2e%2e HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /?\xff HTTP/1.1",
        b"GET " + b"/a" * 5000 + b" HTTP/1.1",
    ),
    *(
        b"PRI * HTTP/2.0",
        b"POST /jobs HTTP/1.1 x",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2",
        b"QUERY /jobs HTTP/1.1",
        b"X" * 300 + b" / HTTP/1.1",
    ),
)
_CHUNKS = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhel",
    b"zz\r\n",
    b"-1\r\n",
    b"ffffffffffffffffff\r\nx",
    b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
)


def as_bytes(dice: random.Random, request: Request) -> bytes:
    """``request``, or something like it."""
    query = f"?{request.query}" if request.query else ""
    line = f"{request.method} {request.path}{query} HTTP/1.1".encode("latin-1", "replace")
    if dice.random() < 0.2:
        line = dice.choice(_FIRST_LINES)
    fields = [f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in request.headers.items()]
    body = request.body
    if dice.random() < 0.1:
        fields.append(b"Transfer-Encoding: chunked\r\n")
        body = dice.choice(_CHUNKS)
    elif body and dice.random() < 0.9:
        fields.append(b"Content-Length: %d\r\n" % (len(body) + dice.choice((0, 0, 0, 0, 1, -1, 100))))
    if dice.random() < 0.4:
        fields.insert(dice.randrange(len(fields) + 1), dice.choice(_LINES))
    data = line + b"\r\nHost: 127.0.0.1\r\n" + b"".join(fields) + b"\r\n" + body
    if dice.random() < 0.1:
        at = dice.randrange(len(data))
        data = data[:at] + dice.randbytes(dice.randrange(4)) + data[at + 1 :]
    return data[: dice.randrange(len(data))] if dice.random() < 0.05 else data


def send(port: int, data: bytes) -> Answer | None:
    """The first answer to ``data``; ``None``: the server hung up without one, or what it sent was cut off.

    Raises:
        TimeoutError: it did neither.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(sock, method=data.partition(b" ")[0].decode("latin-1"))
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None
