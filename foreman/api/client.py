"""The client at the other end of the socket: whether it still listens, without taking a byte of what it sends."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import falcon


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request; ``sock`` is ``None`` where the server does not show it, and the client then never leaves."""

    sock: socket.socket | None

    @classmethod
    def of(cls, req: falcon.Request) -> Client:
        """The client of a request that gunicorn serves."""
        return cls(req.env.get("gunicorn.socket"))

    def gone(self) -> bool:
        """Whether the client has closed its side: nothing more is read then, as Go's server sees it, and Ollama's.

        One that has sent another request behind this one is only noticed when it is written to.
        """
        if self.sock is None:
            return False
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
