"""Which webhook URLs may be called: judged from the text at submit, and from each address a name resolves to.

What is shut in every mode is in ``address_space.py``. An operator's settings open some of the rest, and what foreman
itself listens on and uses is shut again: whoever may submit a job shall not speak to those through foreman.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote

from foreman.domain.address_space import (
    METADATA_NAMES,
    PRIVATE_SUFFIXES,
    SHUT,
    Address,
    Network,
    carried,
    is_public,
    within,
)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a process listens: foreman's own, or one that it uses, such as its Redis."""

    #: A name, or an address without brackets, in lower case; ``0.0.0.0`` and ``::`` are every address of this machine.
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """``host`` if it is an address; ``None`` if it is a name."""
        return _parsed(self.host)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator opened beyond ``https`` to public addresses, as the settings section ``webhook`` has it."""

    allow_http: bool = False
    allowed_nets: tuple[Network, ...] = ()
    #: Names, or ``*.`` and what a name must end in, lower case: these may be private names with private addresses.
    allowed_hosts: tuple[str, ...] = ()
    #: Shut whatever is opened.
    own: tuple[Listener, ...] = ()

    def names(self, ip: Address) -> bool:
        """Whether the operator named a network that holds ``ip``."""
        return within(ip, self.allowed_nets)

    def trusts(self, name: str) -> bool:
        """Whether the operator named the host ``name``, or a ``*.`` above it, and so whatever it resolves to."""
        return any(
            name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
            for pattern in self.allowed_hosts
        )

    def own_at(self, port: int) -> tuple[Listener, ...]:
        """The listeners on ``port``, wherever they are."""
        return tuple(each for each in self.own if each.port == port)


@dataclass(frozen=True, slots=True)
class Target:
    """An acceptable URL, taken apart."""

    #: ``"https"`` or ``"http"``.
    scheme: str
    #: Lower case, no trailing dot, no brackets: what a certificate must name.
    host: str
    port: int
    #: The request target: path and query, percent-encoded, never empty, no fragment.
    path: str
    #: The address itself when ``host`` is one; ``None`` when it is a name.
    address: Address | None

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as the ``Host`` header wants it: IPv6 in brackets, a default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORT.get(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """``scheme://authority``: one receiver, for caps, circuits and metrics."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL or address may not be called.

    ``code`` is stable: ``length``, ``characters``, ``syntax``, ``scheme``, ``userinfo``, ``port``, ``host``,
    ``private_name``, ``address_not_public`` or ``own_address``. ``detail`` says what would be right and never holds an
    address that was found: what a name resolves to inside a network is nothing to tell a submitter.
    """

    code: str
    detail: str


#: Characters. What proxies and log lines commonly take; longer ones are refused before they are stored.
MAX_URL_CHARS = 2048

_DEFAULT_PORT = {"https": 443, "http": 80}

#: Scheme, authority, path, query, fragment. RFC 3986 appendix B, with ``//`` and a scheme required.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.ASCII | re.DOTALL)

#: ``host[:port]``; an IPv6 literal in brackets. An empty port, which RFC 3986 allows, is more likely a mistake.
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?", re.DOTALL)

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)

#: RFC 1123 section 2.1, and ``_``, which container networks use in names.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)

#: A last label like this makes resolvers read the whole as an IPv4 address: ``2130706433``, ``0x7f.1``, ``127.1``.
#: WHATWG URL, "ends in a number checker".
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)

#: RFC 1035 section 2.3.4, in characters without the trailing dot.
_MAX_NAME_CHARS = 253

_NOT_PUBLIC = Refusal(
    "address_not_public",
    "must be reached at a public address, or at one that webhook.allowed_nets or allowed_hosts opens",
)
_OWN = Refusal("own_address", "must not lead back to foreman, or to what it uses")
_LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def judge_url(text: str, policy: Policy) -> Target | Refusal:
    """Whether a webhook URL may be called, as far as its text tells; a name's addresses are judged when it resolves.

    A Unicode host or path is refused rather than converted, since resolvers and browsers convert in different ways
    (RFC 3986 has ASCII only).
    """
    parts = _take_apart(text)
    if isinstance(parts, Refusal):
        return parts
    scheme, authority, path, query = parts
    if scheme not in (("https", "http") if policy.allow_http else ("https",)):
        return Refusal("scheme", f"must begin with https://{' or http://' if policy.allow_http else ''}")
    where = _split_authority(authority, _DEFAULT_PORT[scheme])
    if isinstance(where, Refusal):
        return where
    host, port = where
    judged = _judge_host(host, policy)
    if isinstance(judged, Refusal):
        return judged
    name, address = judged
    if leads_home(name, (address,) if address else loopback_of(name, policy) or (), policy.own_at(port)):
        return _OWN
    return Target(scheme, name, port, _request_target(path, query), address)


def origin_of(url: str) -> str:
    """``scheme://host:port`` of a URL that was acceptable once, as ``Target.origin``, whatever the policy is now."""
    parts = _take_apart(url)
    where = parts if isinstance(parts, Refusal) else _split_authority(parts[1], _DEFAULT_PORT.get(parts[0], 0))
    if isinstance(parts, Refusal) or isinstance(where, Refusal):
        return url
    host, port = where
    return Target(parts[0], host.lower().removesuffix(".").strip("[]"), port, "/", None).origin


def judge_address(ip: Address, policy: Policy, *, trusted: bool = False) -> Refusal | None:
    """Whether a connection to ``ip`` may be made: ``None`` if so. One refused address refuses the whole name.

    ``trusted``: it was found under a name that ``policy.trusts``.
    """
    if within(ip, SHUT):
        return _NOT_PUBLIC
    if trusted or policy.names(ip):
        inner = carried(ip)
        return None if inner is None else judge_address(inner, policy, trusted=trusted)
    return None if is_public(ip) else _NOT_PUBLIC


def loopback_of(name: str, policy: Policy) -> tuple[Address, ...] | None:
    """The addresses of ``localhost`` and names below it, which need no resolver; ``None`` for any other name.

    RFC 6761 section 6.3 gives these names to loopback. Only those the operator opened are listed, for otherwise a
    hosts file with ``::1`` in it would shut ``http://localhost`` to whoever opened ``127.0.0.0/8``.
    """
    if not _is_below(name, "localhost"):
        return None
    return tuple(ip for ip in _LOOPBACK if policy.trusts(name) or policy.names(ip))


def leads_home(name: str, ips: Iterable[Address], own: tuple[Listener, ...]) -> bool:
    """Whether ``name``, known to have the addresses ``ips``, is one of the listeners ``own``, as far as text tells.

    A listener that is called by a name of its own, or at another address of this machine, is for a resolver to find.
    """
    hosts = {each.host for each in own}
    return name in hosts or any(
        same_machine(ip, each.address) for ip in ips for each in own if each.address is not None
    )


def same_machine(one: Address, other: Address) -> bool:
    """Whether both are one address, or both lead to this machine: loopback has 16 million addresses of one meaning."""
    one, other = carried(one) or one, carried(other) or other
    return one == other or (is_here(one) and is_here(other))


def is_here(ip: Address) -> bool:
    """Whether ``ip`` leads to this machine whichever machine that is: loopback, and the address that is none."""
    return ip.is_loopback or ip.is_unspecified


def _take_apart(text: str) -> tuple[str, str, str, str] | Refusal:
    """Scheme (lower case), authority, path and query."""
    if len(text) > MAX_URL_CHARS:
        return Refusal("length", f"must be at most {MAX_URL_CHARS} characters long")
    if any(not "!" <= char <= "~" or char == "\\" for char in text):
        return Refusal("characters", "must be ASCII without spaces, backslashes or control characters: percent-encode")
    match = _URL.fullmatch(text)
    if match is None:
        return Refusal("syntax", "must be an absolute URL such as https://hooks.example.com/path")
    scheme, authority, path, query = match.groups(default="")
    return scheme.lower(), authority, path, query


def _split_authority(authority: str, default_port: int) -> tuple[str, int] | Refusal:
    if "@" in authority:
        return Refusal("userinfo", "must not hold a user name or password: verify the signature instead")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return Refusal("host", "must have a host name, an IPv4 address, or an IPv6 address in brackets")
    host, port = match.groups()
    if port is None:
        return host, default_port
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:  # noqa: PLR2004  the largest a port can be
        return Refusal("port", "must have a port from 1 to 65535, or none")
    return host, int(port)


def _judge_host(host: str, policy: Policy) -> tuple[str, Address | None] | Refusal:
    """The host as ``Target`` holds it, with its address if it is one."""
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if host.startswith("[") or _NUMBER.fullmatch(labels[-1]):
        address = _literal(host)
        if address is None:
            return Refusal("host", "must write an address as 203.0.113.7 or [2001:db8::7], without a zone")
        return judge_address(address, policy) or (str(address), address)
    if len(name) > _MAX_NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        return Refusal("host", "must have a host name of letters, digits and hyphens (an international one as xn--…)")
    return _judge_name(name, policy) or (name, None)


def _judge_name(name: str, policy: Policy) -> Refusal | None:
    if name in METADATA_NAMES:
        return Refusal("private_name", "must not name a cloud metadata service")
    if policy.trusts(name):
        return None
    is_private = "." not in name or any(_is_below(name, suffix) for suffix in PRIVATE_SUFFIXES)
    if (is_private and not policy.allowed_nets) or loopback_of(name, policy) == ():
        opened = "unless webhook.allowed_nets or allowed_hosts opens a private one"
        return Refusal("private_name", f"must have a public host name, {opened}")
    return None


def _literal(host: str) -> Address | None:
    try:
        if host.startswith("["):
            return None if "%" in host else IPv6Address(host[1:-1])
        return IPv4Address(host)
    except ValueError:
        return None


def _request_target(path: str, query: str) -> str:
    """Percent-encode what RFC 3986 does not allow and people type all the same (``{``, ``|``, ``"``); keep the rest."""
    return quote((path or "/") + query, safe="/?:@!$&'()*+,;=-._~%")


def _is_below(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_address(text: str) -> Address:
    """An address as ``getaddrinfo`` writes it, its zone dropped. Raises: ValueError for anything else."""
    return ip_address(text.partition("%")[0])
