"""One try to deliver an event: a POST that ends in time and in bounds, whatever the receiver does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache, partial

from foreman.clock import monotonic
from foreman.domain.address import Policy, Refusal, Target, judge_url
from foreman.domain.delivery import Attempt, TryError
from foreman.net.guard import Resolver, connect, resolve
from foreman.net.watchdog import Watchdog
from foreman.net.wire import FAILURES, Answer, Wire

#: URLs whose text was judged and is remembered, at most: some megabytes. What a name resolves to never is.
_JUDGED = 2048


class WebhookSender:
    """Sends to what ``policy`` allows; each try ends within ``timeout_s`` seconds. Any number of threads may use it.

    Redirects are not followed, proxies of the environment not used, answers not decompressed. Each try has a connection
    of its own: one kept open would have to be judged again, and closing tells the receiver that no more will come.
    """

    def __init__(
        self,
        policy: Policy,
        timeout_s: float,
        *,
        watchdog: Watchdog | None = None,
        getaddrinfo: Resolver = socket.getaddrinfo,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._judge = lru_cache(_JUDGED)(partial(judge_url, policy=policy))
        self._timeout_s = timeout_s
        self._watchdog = watchdog or Watchdog()
        self._getaddrinfo = getaddrinfo
        self._tls = tls or ssl.create_default_context()

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST ``body`` to ``url`` once. Never raises for anything that a URL, a resolver or a receiver can do."""
        began = monotonic()
        came = self._try(url, headers, body, began + self._timeout_s)
        duration_ms = round((monotonic() - began) * 1000)
        if isinstance(came, TryError):
            return Attempt(None, came, None, "", duration_ms)
        return Attempt(came.status, None, came.retry_after, came.excerpt, duration_ms)

    def _try(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answer | TryError:
        target = self._judge(url)
        if isinstance(target, Refusal):
            return TryError.ADDRESS_REFUSED
        places = resolve(target, self._policy, deadline, self._getaddrinfo)
        if isinstance(places, TryError):
            return places
        sock = connect(places, deadline)
        if isinstance(sock, TryError):
            return sock
        with sock, self._watchdog.watch(sock, deadline) as watch:
            try:
                with Wire(self._secured(sock, target)) as wire:
                    return wire.exchange(target, headers, body)
            except FAILURES as error:
                return TryError.TIMEOUT if watch.fired else _class_of(error)

    def _secured(self, sock: socket.socket, target: Target) -> socket.socket:
        sock.settimeout(self._timeout_s)
        if target.scheme == "http":
            return sock
        # The name, not the address it was resolved to, is what SNI carries and the certificate must be for.
        return self._tls.wrap_socket(sock, server_hostname=target.host)


def _class_of(error: Exception) -> TryError:
    match error:
        case TimeoutError():
            return TryError.TIMEOUT
        case ssl.SSLError():
            return TryError.TLS
        case OSError():
            return TryError.RESET
        case _:
            return TryError.PROTOCOL
