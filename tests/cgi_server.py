"""A web server that answers every POST with one CGI script: ``python tests/cgi_server.py PORT SCRIPT``. RFC 3875."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Runs the script once for each request."""

    script = ""

    def do_POST(self) -> None:
        """Hand the request on, and the answer back."""
        length_b = self.headers["Content-Length"]
        given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        environ = os.environ | given | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": length_b}
        ran = subprocess.run(
            [self.script], input=self.rfile.read(int(length_b)), env=environ, stdout=subprocess.PIPE, check=False
        )
        head = ran.stdout.decode().splitlines()
        status = next((line.removeprefix("Status: ") for line in head if line.startswith("Status: ")), "500 Failed")
        self.send_response_only(int(status[:3]))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Handler.script = sys.argv[2]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
