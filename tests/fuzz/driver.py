"""Sends requests to the WSGI application in this process, made from the environment as gunicorn's workers make it.

``python -m tests.fuzz.driver SEED FIRST COUNT RECEIVER SECRET…`` prints one JSON object: how many answers there were of
each status, where some were successes, and every finding. The request of a number is the same for the same seed, save
for the ids of jobs that earlier ones made.
"""

from __future__ import annotations

import collections
import io
import json
import random
import re
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon.inspect

from foreman import wiring
from foreman.api.wsgi import application
from foreman.store import database
from tests.fuzz.grammar import Request, Route, World, any_request
from tests.fuzz.oracle import Answer, complaints

#: Findings after which there is no point in going on.
ENOUGH = 20
#: Pieces of a stream that are read: a job's events may go on for as long as it waits.
MAX_PIECES = 2000
#: Requests between two lines that say how far it is: some ten seconds.
PROGRESS = 10_000

_ID = re.compile(rb'"job_id":"([0-9A-Z]{26})"')
_CURSOR = re.compile(rb'"next_cursor":"([^"]+)"')


def routes_of(app: falcon.App[Any, Any]) -> tuple[Route, ...]:
    """Every route that the application has, with the methods that it does not answer 405."""
    found = []
    for route in falcon.inspect.inspect_routes(app):
        known = tuple(each.method for each in route.methods if not each.internal)
        found.append(Route(route.path, known))
    return tuple(found)


def environ(request: Request, sock: socket.socket) -> dict[str, Any]:
    """The request as gunicorn hands it over."""
    path = unquote_to_bytes(request.path).decode("latin-1")
    made: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "RAW_URI": request.path,
        "QUERY_STRING": request.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "gunicorn.socket": sock,
    }
    if request.body and not request.chunked:
        made["CONTENT_LENGTH"] = str(len(request.body))
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        made[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value
    return made


class Driver:
    """One application, and what its answers came to."""

    def __init__(self, receiver: str, secrets: tuple[bytes, ...]) -> None:
        self.app = application()
        self.routes = routes_of(self.app)
        self.world = World(receiver)
        self.statuses: collections.Counter[int] = collections.Counter()
        self.reached: set[str] = set()
        self.findings: list[str] = []
        self._secrets = secrets
        self._listening, self._peer = socket.socketpair()
        self._left, gone = socket.socketpair()
        gone.close()

    def ask(self, request: Request) -> Answer:
        """The answer, read to its end or as far as anybody would."""
        told: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: Any = None, /
        ) -> Callable[[bytes], None]:
            told[:] = [int(status.partition(" ")[0]), {name.lower(): value for name, value in headers}]
            return lambda _data: None

        sock = self._left if request.hangs_up else self._listening
        pieces = self.app(environ(request, sock), start_response)
        body = b""
        try:
            for count, piece in enumerate(pieces):
                body += piece
                if count > MAX_PIECES:
                    break
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
            database.proxy.obj.close()
        return Answer(told[0], told[1], body)

    def one(self, seed: int, number: int) -> None:
        """Send the request of this number, and look at what comes back."""
        request = any_request(random.Random(f"{seed}/{number}"), self.routes, self.world)
        try:
            answer = self.ask(request)
        except Exception as error:  # noqa: BLE001  the edge: whatever leaves the application is a finding
            self.findings.append(f"{seed}/{number}: raised {error!r}: {request!r:.2000}")
            return
        self.statuses[answer.status] += 1
        self._learn(request, answer)
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        for complaint in complaints(request.method, path, answer, self._secrets, limited=request.limited):
            self.findings.append(f"{seed}/{number}: {complaint}: {request!r:.2000}")

    def _learn(self, request: Request, answer: Answer) -> None:
        if answer.status < 400:
            self.reached.add(f"{request.method} /{request.path.split('/')[1]}")
        if answer.status == 202:
            self.world.ids.extend(found.decode() for found in _ID.findall(answer.body)[:1])
        if found := _CURSOR.search(answer.body):
            self.world.cursors.append(found[1].decode())
        if "etag" in answer.headers:
            self.world.etags.append(answer.headers["etag"])


def main(seed: int, first: int, count: int, receiver: str, secrets: tuple[bytes, ...]) -> dict[str, Any]:
    """Send ``count`` requests from number ``first`` on."""
    wiring.configure_logs("fuzz")
    driver = Driver(receiver, secrets)
    with closing(driver._listening), closing(driver._peer), closing(driver._left):
        for number in range(first, first + count):
            driver.one(seed, number)
            if (number + 1 - first) % PROGRESS == 0:
                print(f"from {first} on: {number + 1 - first} of {count}", flush=True)
            if len(driver.findings) >= ENOUGH:
                break
    return {
        "sent": sum(driver.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(driver.statuses.items())},
        "reached": sorted(driver.reached),
        "findings": driver.findings,
    }


if __name__ == "__main__":
    asked = [int(number) for number in sys.argv[1:4]]
    print(json.dumps(main(asked[0], asked[1], asked[2], sys.argv[4], tuple(each.encode() for each in sys.argv[5:]))))
