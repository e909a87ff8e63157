"""Where a webhook may connect to: a name is resolved once, every address judged, and the connection goes to those.

Asking the resolver again on connecting would let a name answer with a public address first and a private one second.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from foreman.clock import monotonic
from foreman.domain.address import (
    Listener,
    Policy,
    Target,
    is_here,
    judge_address,
    leads_home,
    loopback_of,
    parse_address,
    same_machine,
)
from foreman.domain.address_space import Address, is_public
from foreman.domain.delivery import TryError

#: As ``socket.getaddrinfo``: ``(family, kind, protocol, canonical name, sockaddr)`` for each address.
Resolver = Callable[..., Sequence[tuple[Any, ...]]]


class Place(NamedTuple):
    """An address that was judged: where a socket may connect to."""

    family: int
    sockaddr: tuple[Any, ...]


def resolve(
    target: Target, policy: Policy, deadline: float, getaddrinfo: Resolver = socket.getaddrinfo
) -> tuple[Place, ...] | TryError:
    """Every address of ``target``, in the resolver's order, if all of them may be called; one bad one refuses all.

    ``deadline`` is on the scale of ``clock.monotonic``. The system's resolver cannot be interrupted, so it runs in a
    thread of its own, which outlives a slow lookup by what the resolver takes (glibc: 5 s a server, twice).
    """
    known = (target.address,) if target.address else loopback_of(target.host, policy)
    if known is not None:
        found: Sequence[Place] | None = [_place(ip, target.port) for ip in known]
    else:
        found = _look_up(target.host, target.port, deadline, getaddrinfo)
    if not found:
        return TryError.DNS if known is None else TryError.ADDRESS_REFUSED
    ips = [_address(place) for place in found]
    trusted = policy.trusts(target.host)
    if any(judge_address(ip, policy, trusted=trusted) for ip in ips):
        return TryError.ADDRESS_REFUSED
    own = policy.own_at(target.port)
    if own and _leads_home(target.host, ips, own, deadline, getaddrinfo):
        return TryError.ADDRESS_REFUSED
    return tuple(found)


def connect(places: Sequence[Place], deadline: float) -> socket.socket | TryError:
    """A connection to the first place that accepts one before ``deadline``; each gets a fair share of the time left."""
    outcome: socket.socket | TryError = TryError.REFUSED
    for tried, place in enumerate(places):
        left_s = deadline - monotonic()
        if left_s <= 0:
            return TryError.TIMEOUT
        outcome = _connect(place, left_s / (len(places) - tried))
        if isinstance(outcome, socket.socket):
            return outcome
    return outcome


def _reason(error: OSError) -> TryError:
    match error:
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return TryError.TOO_MANY_FILES
        case TimeoutError():
            return TryError.TIMEOUT
        case ConnectionResetError():
            return TryError.RESET  # accepted, and reset before this side had heard of it
        case _:
            return TryError.REFUSED


def _place(ip: Address, port: int) -> Place:
    return Place(socket.AF_INET if ip.version == 4 else socket.AF_INET6, (str(ip), port))  # noqa: PLR2004  IPv4, IPv6


def _address(place: Place) -> Address:
    return parse_address(place.sockaddr[0])


def _leads_home(
    name: str, ips: Sequence[Address], own: tuple[Listener, ...], deadline: float, getaddrinfo: Resolver
) -> bool:
    """Whether one of ``ips`` is where one of the listeners ``own``, of the same port, listens.

    A listener's name is looked up only for a private address: what is public, anybody may speak to without foreman, and
    would here cost every webhook to port 443 a second look-up.
    """
    if leads_home(name, ips, own):
        return True
    theirs = [each.address for each in own if each.address is not None]
    if not all(is_public(ip) for ip in ips):
        for each in own:
            found = None if each.address else _look_up(each.host, each.port, deadline, getaddrinfo)
            theirs += [_address(place) for place in found or ()]
    return any(same_machine(ip, their) for ip in ips for their in theirs) or (
        any(_is_this_machine(their) for their in theirs) and any(_is_this_machine(ip) for ip in ips)
    )


def _is_this_machine(ip: Address) -> bool:
    """Whether ``ip`` is an address of this machine: only to such a one can a socket be bound. Nothing is sent."""
    if is_here(ip):
        return True
    place = _place(ip, 0)
    try:
        with socket.socket(place.family, socket.SOCK_DGRAM) as sock:
            sock.bind(place.sockaddr)
    except OSError:
        return False
    return True


def _look_up(host: str, port: int, deadline: float, getaddrinfo: Resolver) -> Sequence[Place] | None:
    """``None`` for a name that does not resolve, or not in time."""
    answer: queue.SimpleQueue[Sequence[Place] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answer.put(None)
        else:
            answer.put([Place(family, sockaddr) for family, *_, sockaddr in found])

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        return answer.get(timeout=max(0.0, deadline - monotonic()))
    except queue.Empty:
        return None


def _connect(place: Place, timeout_s: float) -> socket.socket | TryError:
    try:
        sock = socket.socket(place.family, socket.SOCK_STREAM)
    except OSError as error:
        return _reason(error)  # where this machine has no such address family, the next place may be of the other one
    try:
        sock.settimeout(timeout_s)
        # Headers and body are two writes: with Nagle's algorithm the second waits 40 ms for the receiver's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(place.sockaddr)
    except OSError as error:
        sock.close()
        return _reason(error)
    return sock
