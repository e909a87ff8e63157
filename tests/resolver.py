"""A resolver that answers as a test tells it, and counts how often it was asked."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any


class Resolver:
    """As ``socket.getaddrinfo``: every name has the addresses ``ips``, or ``then`` from the second time on."""

    def __init__(self, ips: tuple[str, ...], then: tuple[str, ...] | None) -> None:
        self._ips = ips
        self._then = ips if then is None else then
        self.asked = 0

    def __call__(self, _host: str, port: int, **_: Any) -> Sequence[tuple[Any, ...]]:
        """The answer, in the order in which the addresses were named."""
        ips = self._then if self.asked else self._ips
        self.asked += 1
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ips]


def resolver(*ips: str, then: tuple[str, ...] | None = None) -> Resolver:
    """A resolver that knows one answer, or another from the second time on."""
    return Resolver(ips, then)
