"""What Ollama's clients ask besides chats: handed to the upstream as it is, past the queue and its slots."""

from __future__ import annotations

import errno
import json
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus

import falcon

from foreman.api.asked import came_with
from foreman.api.body import read_bytes
from foreman.api.client import Client
from foreman.api.places import Place, Places
from foreman.api.ways import Ways
from foreman.domain.came_with import trace_header
from foreman.domain.fault import Fault
from foreman.domain.json_value import compact, is_unicode
from foreman.domain.lifecycle import Cause
from foreman.domain.synchronous import CLIENT_CLOSED_REQUEST
from foreman.net.passthrough import Passage, Passthrough

#: What is handed on, by method. Nothing that changes the upstream: whoever may submit jobs may not pull, create or
#: delete models by that.
PATHS: dict[str, tuple[str, ...]] = {
    "GET": ("/api/tags", "/api/ps", "/api/version"),
    "POST": ("/api/show", "/api/embed", "/api/embeddings", "/api/generate"),
}

#: Seconds between two looks at whether the client still listens.
LOOK_S = 0.5

#: Seconds each of several upstreams has for its list of models: those of the others wait for it.
LIST_S = 5.0

#: The headers that are handed on, of a request and of an answer. The rest is about one connection, or one server.
_REQUEST_HEADERS = ("Content-Type", "Accept")
_ANSWER_HEADERS = ("Content-Type", "Content-Length", "Retry-After")
#: A value that gunicorn takes; over any other it would forget to close the answer.
_PLAIN = re.compile(r"[ -~]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Counter:
    """Hands requests on for one client each."""

    ways: Ways
    places: Places
    max_body_b: int

    def hand_on(self, req: falcon.Request, resp: falcon.Response, path: str, body: bytes | None) -> None:
        """Ask an upstream, and answer what it answers: 502 or 504 if that is nothing.

        Of several, one that can run the model that ``body`` names; the next if it cannot be reached.

        Raises:
            HTTPNotFound: no upstream may be asked for the model.
        """
        model = None if body is None or self.ways.single is not None else _model_in(body)
        ways = self.ways.to(model)
        if not ways:
            raise falcon.HTTPNotFound(description=f"model '{model}' not found")
        first, *others = ways
        asked = self._ask(req, first, path, body)
        for way in others:
            if isinstance(asked, Errand) or asked.began:
                break
            asked = self._ask(req, way, path, body)
        if isinstance(asked, Errand):
            _answer(resp, asked)
        else:
            _refuse(resp, asked, Client.of(req))

    def _ask(self, req: falcon.Request, way: Passthrough, path: str, body: bytes | None) -> Errand | Fault:
        given = {name: value for name in _REQUEST_HEADERS if (value := req.get_header(name)) is not None}
        given |= trace_header(came_with(req).traceparent)
        errand = Errand(way.passage(), Client.of(req), self.places.take())
        try:
            fault = errand.passage.ask(req.method, path, body, given)
        except BaseException:
            errand.close()
            raise
        if fault is not None:
            errand.close()
        return fault or errand

    def fetch_all(self, req: falcon.Request, asked: Sequence[tuple[Passthrough, str]], limit_b: int) -> list[bytes]:
        """The answers to ``GET path`` of some upstreams, for whoever makes another of them; those that there are.

        Raises:
            HTTPError: 502 or 504: there is none that can be used, or they are over ``limit_b`` bytes.
        """
        client = Client.of(req)
        if self.ways.single is not None:
            return [self._fetch(client, way, path, limit_b) for way, path in asked]
        bounded = [(replace(way, total_s=LIST_S, connect_timeout_s=LIST_S), path) for way, path in asked]
        with ThreadPoolExecutor(len(asked), thread_name_prefix="list") as pool:
            waited_for = [pool.submit(self._fetch, client, way, path, limit_b) for way, path in bounded]
        errors = [error for each in waited_for if (error := each.exception()) is not None]
        if len(errors) == len(asked):
            raise errors[0]
        return [each.result() for each in waited_for if each.exception() is None]

    def _fetch(self, client: Client, way: Passthrough, path: str, limit_b: int) -> bytes:
        errand = Errand(way.passage(), client, self.places.take())
        try:
            fault = errand.passage.ask("GET", path, None, {})
            if fault is not None:
                raise falcon.HTTPError(_status_of(fault), description=fault.message)
            if errand.passage.status != HTTPStatus.OK:
                raise _unusable()
            return _read(errand, limit_b)
        finally:
            errand.close()


@dataclass(frozen=True, slots=True)
class Question:
    """``GET`` of one path."""

    counter: Counter
    path: str

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Hand it on."""
        self.counter.hand_on(req, resp, self.path, None)


@dataclass(frozen=True, slots=True)
class Order:
    """``POST`` to one path."""

    counter: Counter
    path: str

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Hand it on, body and all."""
        self.counter.hand_on(req, resp, self.path, read_bytes(req, self.counter.max_body_b))


class Errand:
    """One request that is handed on: its answer as gunicorn takes it, broken off when the client no longer listens."""

    def __init__(self, passage: Passage, client: Client, place: Place) -> None:
        self.passage = passage
        self._client = client
        self._place = place
        self._pieces: Iterator[bytes] | None = None
        self._over = threading.Event()
        # Whoever hands on is blocked in a read from the upstream, so it takes somebody else to look.
        self._look_out = threading.Thread(target=self._look, name="hang-up", daemon=True)
        self._look_out.start()

    def __iter__(self) -> Errand:
        return self

    def __next__(self) -> bytes:
        self._pieces = self._pieces or iter(self.passage)
        try:
            return next(self._pieces)
        except ConnectionResetError as error:
            # An answer that broke off must not look like a whole one: gunicorn closes the connection for this error.
            raise ConnectionResetError(errno.ECONNRESET, "the upstream broke off") from error

    def close(self) -> None:
        """Forget the upstream's answer, whole or not, and leave the place to others."""
        self._over.set()
        self._look_out.join()
        self.passage.close()
        self._place.leave()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            if self._client.gone():
                self.passage.cut()
                return


def _answer(resp: falcon.Response, errand: Errand) -> None:
    # An answer that has no body would leave the errand unclosed, and where a redirect leads is nobody's business.
    if errand.passage.status != HTTPStatus.OK and errand.passage.status < HTTPStatus.BAD_REQUEST:
        errand.close()
        raise _unusable()
    resp.status = errand.passage.status
    resp.stream = errand
    for name in _ANSWER_HEADERS:
        if (value := errand.passage.header(name)) is not None and _PLAIN.fullmatch(value):
            resp.set_header(name, value)


def _model_in(body: bytes) -> str | None:
    """The model that a request is about; ``None`` if it names none, which its upstream may tell it."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match asked:
        case {"model": str(model)} | {"name": str(model)} if model and is_unicode(model):
            return model
        case _:
            return None


def _read(errand: Errand, limit_b: int) -> bytes:
    read = b""
    try:
        for piece in errand:
            read += piece
            if len(read) > limit_b:
                break
        else:
            return read
    except ConnectionResetError:
        pass
    raise falcon.HTTPError(HTTPStatus.BAD_GATEWAY, description="The upstream's answer is not whole, or too large.")


def _unusable() -> falcon.HTTPError:
    return falcon.HTTPError(HTTPStatus.BAD_GATEWAY, description="The upstream gave no usable answer.")


def _status_of(fault: Fault) -> HTTPStatus:
    late = fault.cause in {Cause.STALLED, Cause.EXEC_TIMEOUT}
    return HTTPStatus.GATEWAY_TIMEOUT if late else HTTPStatus.BAD_GATEWAY


def _refuse(resp: falcon.Response, fault: Fault, client: Client) -> None:
    # Of a client that hung up the call was cut: nobody reads this, and it is no fault of the upstream's.
    resp.status = CLIENT_CLOSED_REQUEST if client.gone() else _status_of(fault)
    resp.data = compact({"error": fault.message})
    resp.content_type = falcon.MEDIA_JSON
