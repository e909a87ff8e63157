"""One request to foreman and its answer: connections that are kept, the API key, and trying again."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3 import exceptions

from foreman import __version__, clock
from foreman.client.errors import AnswerUnreadable, Unavailable, Unreachable, refused
from foreman.client.patience import Patience
from foreman.domain.delivery import retry_after_s

T = TypeVar("T")

#: Seconds for a connection: three tries of TCP, which come after 0, 1 and 3 s.
_CONNECT_S = 5.0
#: Bytes that are read at a time.
_READ_B = 65_536
#: Connections to one server that are kept for later; more than that are opened, and closed after their use.
_KEPT = 10

Query = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask. ``path`` is written as it goes into the request line; see ``path_of``."""

    method: str
    path: str
    query: Query = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Statuses besides 2xx that are answers, not problems.
    also: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; names of ``headers`` in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Safe to share between threads. ``url`` may have a path before foreman's, and a name and password for a proxy."""

    def __init__(self, url: str, api_key: str | None, tls: ssl.SSLContext | None) -> None:
        parts = urllib3.util.parse_url(url)
        if parts.scheme not in {"http", "https"} or not parts.host or parts.query or parts.fragment:
            raise ValueError("the URL must look like http://host:8420, https and a path prefix if need be")
        self.origin = f"{parts.scheme}://{parts.host}" + (f":{parts.port}" if parts.port else "")
        self._prefix = (parts.path or "").rstrip("/")
        self._headers = {"User-Agent": f"foreman-client/{__version__}", "Accept": "application/json"}
        if parts.auth:
            self._headers |= urllib3.util.make_headers(basic_auth=parts.auth)
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        context = tls or (ssl.create_default_context() if parts.scheme == "https" else None)
        self._pool = urllib3.PoolManager(maxsize=_KEPT, ssl_context=context)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.clear()

    def fetch(self, request: Request, patience: Patience, kind: type[T]) -> T:
        """The answer decoded; see ``send``."""
        return self.decoded(self.send(request, patience).body, kind)

    def send(self, request: Request, patience: Patience) -> Reply:
        """The answer to ``request``, which is sent again until there is one.

        Raises:
            Unreachable, Unavailable: there was none while ``patience`` lasted.
            Refused: it is a problem.
        """
        while True:
            try:
                return self.once(request, patience.left_s)
            except (Unreachable, Unavailable) as error:
                patience.endure(error)

    def once(self, request: Request, timeout_s: float) -> Reply:
        """The answer to ``request``, sent once; raises as ``send`` does."""
        deadline = clock.monotonic() + timeout_s
        response = self.open(request, timeout_s)
        try:
            body = b"".join(self.pieces(response, deadline))
        finally:
            response.close()
        return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    def open(self, request: Request, timeout_s: float) -> urllib3.BaseHTTPResponse:
        """The answer up to its body; to be closed. No byte for ``timeout_s``: it breaks off. Raises as ``send``."""
        path = f"{self.origin}{self._prefix}{request.path}"
        query = urlencode(list(request.query), quote_via=quote)
        try:
            response = self._pool.request(
                request.method,
                f"{path}?{query}" if query else path,
                body=request.body,
                headers=self._headers | dict(request.headers),
                timeout=urllib3.Timeout(connect=min(_CONNECT_S, timeout_s), read=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES or response.status in request.also:
            return response
        try:
            hint = retry_after_s(response.headers.get("Retry-After", ""), clock.now())
            raise refused(response.status, b"".join(self.pieces(response, clock.monotonic() + timeout_s)), hint)
        finally:
            response.close()

    def pieces(self, response: urllib3.BaseHTTPResponse, deadline: float) -> Iterable[bytes]:
        """The body as it comes, until ``deadline`` (monotonic seconds).

        Raises:
            Unreachable: it broke off, or took too long.
        """
        try:
            while piece := response.read1(_READ_B):
                yield piece
                if clock.monotonic() > deadline:
                    raise Unreachable(self.origin, "did not answer in time")
        except exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def decoded(self, body: bytes, kind: type[T]) -> T:
        """``body``, JSON, as a value.

        Raises:
            AnswerUnreadable: it is none.
        """
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise AnswerUnreadable(self.origin, str(error)) from error

    def _unreachable(self, error: exceptions.HTTPError) -> Unreachable:
        return Unreachable(self.origin, _said(error), lasting=isinstance(error, exceptions.SSLError))


def path_of(*parts: str) -> str:
    """A path of ``parts``, each of which is one segment of it whatever it holds."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def posted(path: str, value: object, headers: Mapping[str, str] | None = None) -> Request:
    """A POST of ``value`` as JSON.

    Raises: TypeError or ValueError if JSON has no words for it.
    """
    body = msgspec.json.encode(value)
    return Request("POST", path, body=body, headers={"Content-Type": "application/json"} | dict(headers or {}))


def _said(error: exceptions.HTTPError) -> str:
    """What happened, in words; the error itself is the cause."""
    match error:
        case exceptions.NameResolutionError():
            return "its name cannot be resolved"
        case exceptions.NewConnectionError():
            return "cannot be connected to"
        case exceptions.ConnectTimeoutError():
            return "did not accept the connection in time"
        case exceptions.ReadTimeoutError():
            return "did not answer in time"
        case exceptions.SSLError():
            return f"TLS failed: {error}"
        case _:
            return "broke the connection off"
