"""The bundled model as a process of its own, speaking what foreman needs of Ollama's native API over HTTP.

``python -m foreman.bundled.server --bind 127.0.0.1:11500 --model model.gguf``; with port 0 the address it chose is the
first line of stdout. ``--fd`` takes a listening socket from the parent instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import socketserver
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from foreman import __version__, clock
from foreman.bundled import answer, card
from foreman.bundled.call import Call
from foreman.bundled.engine import ClientGone, Engine, EngineBusy, LoadFailed
from foreman.bundled.request import Refused, read_chat, read_model
from foreman.domain.moment import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of the largest body taken: three times foreman's own default, so that it is foreman which refuses.
MAX_BODY_B = 64 << 20
#: Seconds a connection may be silent while it is read from or written to. Long, since a keep-alive connection that is
#: closed just as its client uses it again looks like a fault.
IDLE_TIMEOUT_S = 600

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"


class OllamaServer(ThreadingHTTPServer):
    """The listener; each connection has a thread, and the engine decides whose call runs."""

    #: Connections the kernel holds before they are accepted; a refusal would be taken for a dead upstream.
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int] | int, engine: Engine, modified_at: str) -> None:
        """``address`` is a host and port, or the descriptor of a socket that listens already."""
        self.engine = engine
        self.modified_at = modified_at
        if isinstance(address, int):
            super().__init__(("", 0), OllamaHandler, bind_and_activate=False)
            self.socket.close()
            self.socket = socket.socket(fileno=address)
            self.socket.settimeout(None)
            self.server_address = self.socket.getsockname()[:2]
        else:
            super().__init__(address, OllamaHandler)

    def server_bind(self) -> None:
        """Bind without asking DNS for the host's full name, as the standard library does: it can hang for seconds."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- the base class has no types
        """Say nothing of a client that hung up, and everything of a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class OllamaHandler(BaseHTTPRequestHandler):
    """One connection."""

    server: OllamaServer
    protocol_version = "HTTP/1.1"
    server_version = f"foreman/{__version__}"
    disable_nagle_algorithm = True
    timeout = IDLE_TIMEOUT_S
    verbose: ClassVar[bool] = False

    def do_GET(self) -> None:
        """Answer the listings and the version."""
        routes: dict[str, Callable[[], object]] = {
            "/api/tags": lambda: card.tags(self.server.modified_at),
            "/api/ps": self._running,
            "/api/version": lambda: {"version": __version__},
        }
        self._dispatch(routes, HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        """Answer like GET, less the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer calls; one thread of the server is this call's until it ends."""
        routes: dict[str, Callable[[], object]] = {
            "/api/chat": self._chat,
            "/api/show": self._show,
            "/api/generate": self._missing,
            "/api/embed": self._missing,
            "/api/embeddings": self._missing,
        }
        self._dispatch(routes, HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 -- the base class's signature
        """Log requests only when debugging: foreman logs the jobs."""
        if self.verbose:
            super().log_message(format, *args)

    def _dispatch(self, routes: dict[str, Callable[[], object]], otherwise: HTTPStatus) -> None:
        path = urlsplit(self.path).path
        try:
            self._refuse_strangers()
            if path == "/" and self.command != "POST":
                self._send(HTTPStatus.OK, b"Ollama is running", _TEXT)
            elif path not in routes:
                self._send(otherwise, b"404 page not found", _TEXT)
            elif (value := routes[path]()) is not None:
                self._send(HTTPStatus.OK, answer.encode(value), _JSON)
        except Refused as refusal:
            self._send(HTTPStatus(refusal.status), answer.encode({"error": refusal.message}), _JSON)
        except ClientGone:
            self.close_connection = True

    def _refuse_strangers(self) -> None:
        """Keep web pages out, as Ollama does: one may reach a local port, but not without saying whose page it is."""
        for name in ("Host", "Origin"):
            value = self.headers.get(name)
            if value and not _is_local(urlsplit(value if "//" in value else f"//{value}").hostname):
                # The body is left unread, so the connection cannot be used again.
                self.close_connection = True
                raise Refused(HTTPStatus.FORBIDDEN, f"{name} not allowed")

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> object:
        """The decoded body.

        Raises:
            Refused: it is missing, too large or not JSON.
        """
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        if int(length) > MAX_BODY_B:
            self.close_connection = True
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "http: request body too large")
        raw = self.rfile.read(int(length))
        if not raw:
            raise Refused(HTTPStatus.BAD_REQUEST, "missing request body")
        try:
            return json.loads(raw, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error

    def _running(self) -> object:
        loaded = self.server.engine.loaded()
        return card.running(None, 0) if loaded is None else card.running(rfc3339(loaded[0]), loaded[1])

    def _show(self) -> object:
        read_model(self._body())
        return card.show(self.server.modified_at)

    def _missing(self) -> object:
        read_model(self._body())
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, "the bundled model answers /api/chat only")

    def _chat(self) -> object:
        chat = read_chat(self._body())
        if chat.unloads:
            self.server.engine.unload()
            return answer.value(chat.model, rfc3339(clock.now()), end={"done_reason": "unload"})
        try:
            with self.server.engine.hold(chat.context, chat.keep_alive_s, self.gone) as held:
                if chat.request is None:
                    return answer.value(chat.model, rfc3339(clock.now()), end={"done_reason": "load"})
                return Call(self, chat, held).run(chat.request)
        except EngineBusy as error:
            message = "server busy, please try again.  maximum pending requests exceeded"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message) from error
        except LoadFailed as error:
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model cannot be loaded: {error}") from error

    def gone(self) -> bool:
        """Whether the client has hung up; one that only pipelines has not."""
        # poll, not select: that one cannot look at descriptors from 1024 on.
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        try:
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


def _refuse_constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _is_local(host: str | None) -> bool:
    """Whether a Host or Origin names this machine: an address, or a name no public page can have."""
    if host is None:
        return False
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    with contextlib.suppress(ValueError):
        ip_address(host)
        return True
    return host == socket.gethostname().lower()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m foreman.bundled.server", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bind", metavar="HOST:PORT", help="address to listen on; port 0 picks one")
    where.add_argument("--fd", type=int, help="descriptor of an inherited socket that listens")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--slots", type=int, default=1, help="completions at once")
    parser.add_argument("--debug", action="store_true", help="log requests and what llama.cpp says")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments(argv)
    # A completion under way is not waited for: its client sees the stream end without "done", which is what it is.
    # Leaving by os._exit spares the seconds in which llama.cpp's threads would be wound down.
    leave: Callable[..., None] = partial(os._exit, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave())
    OllamaHandler.verbose = arguments.debug
    engine = Engine(arguments.model, slots=arguments.slots, verbose=arguments.debug)
    modified_at = rfc3339(int(arguments.model.stat().st_mtime * 1000))
    host, _, port = (arguments.bind or ":0").rpartition(":")
    address = arguments.fd if arguments.fd is not None else (host.strip("[]"), int(port))
    server = OllamaServer(address, engine, modified_at)
    if arguments.fd is None:
        bound = server.server_address
        print(f"http://{bound[0]!s}:{bound[1]}", flush=True)  # noqa: T201 -- stdout is how the address is told
    server.serve_forever()


if __name__ == "__main__":
    main()
