"""One try to deliver an event: a POST that ends in time and in bounds, whatever the receiver does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

from foreman.clock import monotonic
from foreman.domain.address import Policy, Refusal, Target, judge_url
from foreman.domain.delivery import Attempt, TryError
from foreman.net.guard import Place, Resolver, connect, resolve
from foreman.net.watchdog import Watch, Watchdog
from foreman.net.wire import FAILURES, Answer, Wire

#: URLs whose text was judged and is remembered, at most: some megabytes. What a name resolves to never is.
_JUDGED = 2048

#: Seconds for which a connection carries one try after the other. A receiver that has a single thread and serves one
#: connection to its end keeps others waiting for so long: eight of them, by default, for less than a try may take.
KEEP_S = 0.5


class WebhookSender:
    """Sends to what ``policy`` allows; each try ends within ``timeout_s`` seconds. Any number of threads may use it.

    Redirects are not followed, proxies of the environment not used, answers not decompressed. The address is resolved
    and judged for each try, also where its connection is one that was kept.
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

    def send(self, url: str, headers: Mapping[str, str], body: bytes, kept: Kept | None = None) -> Attempt:
        """POST ``body`` to ``url`` once. Never raises for what a URL, a resolver, a receiver or a limit can do.

        ``kept`` is what this thread has kept from the try before, and keeps for the next; None: nothing is kept.
        """
        if kept is None:
            with Kept() as nothing:
                return self.send(url, headers, body, nothing)
        began = monotonic()
        came = self._try(_Asked(url, headers, body, began + self._timeout_s), kept)
        duration_ms = round((monotonic() - began) * 1000)
        if isinstance(came, TryError):
            return Attempt(None, came, None, "", duration_ms)
        return Attempt(came.status, None, came.retry_after, came.excerpt, duration_ms)

    def _try(self, asked: _Asked, kept: Kept) -> Answer | TryError:
        target = self._judge(asked.url)
        if isinstance(target, Refusal):
            return TryError.ADDRESS_REFUSED
        places = resolve(target, self._policy, asked.deadline, self._getaddrinfo)
        if isinstance(places, TryError):
            return places
        wire = kept.take(target, places) or self._connect(target, places, asked.deadline)
        return wire if isinstance(wire, TryError) else self._over(wire, target, asked, kept)

    def _connect(self, target: Target, places: Sequence[Place], deadline: float) -> Wire | TryError:
        sock = connect(places, deadline)
        if isinstance(sock, TryError):
            return sock
        sock.settimeout(self._timeout_s)
        if target.scheme == "http":
            return Wire(sock, target)
        watch: Watch | None = None
        try:
            with self._watchdog.watch(sock, deadline) as watch:
                # The name, not the address it was resolved to, is what SNI carries and the certificate must be for.
                return Wire(self._tls.wrap_socket(sock, server_hostname=target.host), target)
        except FAILURES as error:
            sock.close()
            return _class_of(error, watch)

    def _over(self, wire: Wire, target: Target, asked: _Asked, kept: Kept) -> Answer | TryError:
        watch: Watch | None = None
        try:
            with self._watchdog.watch(wire.sock, asked.deadline) as watch:
                return wire.exchange(target, asked.headers, asked.body, last=not kept.may_keep)
        except FAILURES as error:
            return _class_of(error, watch)
        finally:
            kept.put(wire)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One try; ``deadline`` is on the scale of ``clock.monotonic``."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    deadline: float


class Kept:
    """The connection that one thread keeps from a try to its next, if any, until the ``with`` block ends.

    It is only kept open for a receiver whose answer before said where it ends: one that marks the end by closing, and
    closes because it is asked to, would otherwise be waited for until the deadline. So the first is always closed.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._wire: Wire | None = None
        #: Whether each connection that was to be kept was open and at rest when it was needed.
        self._is_sound = True
        #: Whether the receiver is to leave the next connection open.
        self.may_keep = False

    def take(self, target: Target, places: Sequence[Place]) -> Wire | None:
        """The connection, if it leads to ``target``, whose addresses, judged just now, are ``places``; else it ends."""
        wire, self._wire = self._wire, None
        if wire is None:
            return None
        self._is_sound = self._is_sound and wire.is_at_rest()
        if self._is_sound and monotonic() - wire.since <= self._keep_s and wire.leads_to(target, places):
            return wire
        wire.close()
        # A receiver that says nothing of it and hangs up might do so the next time just when it is sent something.
        self.may_keep = self._is_sound
        return None

    def put(self, wire: Wire) -> None:
        """Keep the connection if it may be used again, else close it."""
        self.may_keep = self._is_sound and wire.ends_known
        if wire.is_open:
            self._wire = wire
        else:
            wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._wire is not None:
            self._wire.close()


def _class_of(error: Exception, watch: Watch | None) -> TryError:
    """Why a try ended; ``watch`` is None if there was no descriptor to watch it with."""
    match error:
        case _ if watch is None:
            return TryError.TOO_MANY_FILES
        case _ if watch.fired:
            return TryError.TIMEOUT
        case TimeoutError():
            return TryError.TIMEOUT
        case ssl.SSLError():
            return TryError.TLS
        case OSError():
            return TryError.RESET
        case _:
            return TryError.PROTOCOL
