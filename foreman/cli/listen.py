"""``foreman listen``: a webhook receiver to try things with, which checks signatures and prints what comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from foreman.cli import local
from foreman.cli.printing import as_json
from foreman.domain.printable import one_line
from foreman.domain.setting import is_bind
from foreman.settings import from_environment

#: Bytes of a delivery: the largest completion, and as much again for what is around it.
_MAX_BODY_B = 128 << 20
#: Seconds that a sender may be silent: foreman itself gives up before.
_SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Came:
    """One delivery, genuine if ``wrong`` is ``None``."""

    body: bytes
    attempt: str
    wrong: str | None


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the receiver does with each."""

    secret: str
    status: int
    take: Callable[[_Came, Callable[[], None]], None]


def _bind(_ctx: click.Context, _parameter: click.Parameter, given: str) -> str:
    if not is_bind(given):
        raise click.BadParameter("must be HOST:PORT, such as 127.0.0.1:9000")
    return given


@click.command()
@click.option("--bind", default="127.0.0.1:9000", callback=_bind, show_default=True, metavar="HOST:PORT")
@click.option("--secret", metavar="SECRET", help="What is signed with; else the setting webhook.secret.")
@click.option("--status", type=click.IntRange(200, 599), default=204, show_default=True, help="What to answer.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many genuine ones.")
@as_json
def listen(bind: str, secret: str | None, *, status: int, count: int | None, as_json: bool) -> None:
    """Receive webhooks: check the signatures of each, and print it.

    A forged one is answered 401 and marked. Without a secret nothing can be checked, and each is marked so. foreman
    calls an address such as this only if it is allowed to: start it with

    \b
      FOREMAN_WEBHOOK_ALLOW_HTTP=true FOREMAN_WEBHOOK_ALLOWED_NETS=127.0.0.0/8 foreman up

    \b
    Examples:
      foreman listen                        and then: foreman submit Hello --webhook http://127.0.0.1:9000/
      foreman listen --json --count 4 | jq .state
      foreman listen --status 503           to see how foreman tries again
    """  # noqa: D301 -- click needs its \b as it is
    secret = from_environment().webhook.secret if secret is None else secret
    done = threading.Event()
    orders = _Orders(secret, status, _Printer(count, done, as_json=as_json).take)
    host, port = local.place(bind)
    try:
        server = _server(host, port, orders)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {bind}: {error.strerror or error}.") from error
    checked = "signatures are checked" if secret else "no secret: signatures are not checked"
    click.echo(f"listening on {local.url(bind)}/, {checked}; Ctrl-C ends", err=True)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done.wait()
        except KeyboardInterrupt:
            return
        finally:
            server.shutdown()


def _server(host: str, port: int, orders: _Orders) -> ThreadingHTTPServer:
    import socket  # noqa: PLC0415 -- imported when used, as in main.py

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = type("Server", (ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True, "orders": orders})
    made: ThreadingHTTPServer = kind((host, port), _Handler)
    return made


class _Printer:
    """Answers and prints deliveries, one at a time, and knows which it has seen."""

    def __init__(self, count: int | None, done: threading.Event, *, as_json: bool) -> None:
        self._left = count
        self._done = done
        self._as_json = as_json
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def take(self, came: _Came, answer: Callable[[], None]) -> None:
        """Answer and print it, and count it if it is genuine; what is sent after an answer is printed after it."""
        with self._lock:
            answer()
            if self._done.is_set():
                return
            click.echo(self._line(came))
            if came.wrong in (None, _UNCHECKED) and self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self._done.set()

    def _line(self, came: _Came) -> str:
        try:
            event = json.loads(came.body)
        except ValueError:
            event = {}
        if not isinstance(event, dict):
            event = {}
        if self._as_json:
            return json.dumps({"genuine": came.wrong is None, "wrong": came.wrong, "event": event})
        again = " again" if str(event.get("id")) in self._seen else ""
        self._seen.add(str(event.get("id")))
        told = "genuine" if came.wrong is None else came.wrong
        return one_line(f"{event.get('id', '?')}  {_gist(event)}  try {came.attempt}{again}  {told}")


_UNCHECKED = "not checked: no secret"


def _gist(event: dict[str, Any]) -> str:
    """What an event says, in a few words."""
    state = str(event.get("state") or event.get("type"))
    error = event.get("error")
    if isinstance(error, dict):
        return f"{state}: {error.get('code')}"
    texts = [each["data"]["message"]["content"] for each in event.get("artifacts") or () if _has_text(each)]
    return f"{state}: {texts[0][:200]!r}" if texts else state


def _has_text(artifact: Any) -> bool:  # noqa: ANN401 -- anybody may have sent it
    try:
        return isinstance(artifact["data"]["message"]["content"], str)
    except (TypeError, LookupError):
        return False


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    timeout = _SILENCE_S

    def do_POST(self) -> None:
        """Take one delivery."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY_B:
            self._answer(HTTPStatus.LENGTH_REQUIRED)
            return
        orders: _Orders = self.server.orders  # type: ignore[attr-defined]  # _server puts it there
        body = self.rfile.read(int(length))
        wrong = self._wrong(body, orders.secret)
        status = orders.status if wrong in (None, _UNCHECKED) else HTTPStatus.UNAUTHORIZED
        orders.take(_Came(body, self.headers.get("X-Foreman-Attempt", "?"), wrong), lambda: self._answer(status))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 -- the base class's signature
        """Say nothing: what comes is printed."""

    def _wrong(self, body: bytes, secret: str) -> str | None:
        from foreman.receiver import NotBelieved, verify  # noqa: PLC0415 -- see above

        if not secret:
            return _UNCHECKED
        try:
            verify(self.headers, body, secret)
        except NotBelieved as error:
            return f"REFUSED: {error.detail}"
        return None

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
