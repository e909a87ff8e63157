"""Which webhook URLs may be called: judged from the text at submit, and from each address a name resolves to.

``ipaddress.is_global`` is no such judge: of 48 addresses that must not be called it passed 20 on Python 3.11, and its
answers change between releases. The tables here are explicit, and what they do not open stays shut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator opened beyond ``https`` to public addresses, as the settings section ``webhook`` has it."""

    allow_http: bool = False
    allowed_nets: tuple[Network, ...] = ()

    def names(self, ip: Address) -> bool:
        """Whether the operator named a network that holds ``ip``."""
        return _within(ip, self.allowed_nets)


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
    ``private_name`` or ``address_not_public``. ``detail`` says what would be right and never holds an address that was
    found: what a name resolves to inside a network is nothing to tell a submitter.
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

#: Names of cloud metadata services (EC2, GCE, Azure, Tencent, Equinix, IBM, Rancher): shut in every mode, before DNS.
_METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "metadata.packet.net",
        "api.metadata.cloud.ibm.com",
        "instance-data",
        "instance-data.ec2.internal",
        "rancher-metadata",
    }
)

#: Names that mean this machine or a private network wherever they are looked up: RFC 6761, 6762 and 8375, ICANN's
#: ``internal`` (2024), Kubernetes' ``svc``, and what home and office routers hand out.
_PRIVATE_SUFFIXES = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "home.arpa",
    "lan",
    "svc",
)


def _nets(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


#: Shut in every mode, whatever the operator names: link-local, cloud metadata, and what no receiver can listen on.
SHUT: tuple[Network, ...] = _nets(
    "0.0.0.0/8",  # RFC 791 "this network": Linux connects 0.0.0.0 to loopback
    "169.254.0.0/16",  # RFC 3927 link-local: metadata of AWS, GCP, Azure, ECS and EKS credentials
    "168.63.129.16/32",  # Azure's host, inside public space
    "100.100.100.200/32",  # Alibaba Cloud metadata
    "192.0.0.192/32",  # Oracle Cloud Classic metadata
    "224.0.0.0/4",  # RFC 1112 multicast
    "255.255.255.255/32",  # RFC 919 broadcast
    "::/128",  # RFC 4291 unspecified: connects to loopback
    "fe80::/10",  # RFC 4291 link-local
    "fec0::/10",  # RFC 3879 site-local, which some stacks still treat as link-local
    "ff00::/8",  # RFC 4291 multicast
    "fd00:ec2::/32",  # AWS metadata (::254), EKS credentials (::23), DNS and time
    "fd20:ce::254/128",  # GCP metadata
    "fd00:42::42/128",  # Scaleway metadata
    "fd00:a9fe:a9fe::1/128",  # Akamai (Linode) metadata
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud metadata
)

#: IPv4 that is not public: IANA IPv4 Special-Purpose Address Registry, https://www.iana.org/assignments/
#: iana-ipv4-special-registry, less what ``SHUT`` holds. Anycast relays and sinks marked "globally reachable" are here
#: too: nobody's receiver listens there.
_NOT_PUBLIC_V4: tuple[Network, ...] = _nets(
    "10.0.0.0/8",  # RFC 1918 private
    "100.64.0.0/10",  # RFC 6598 shared by a provider's customers
    "127.0.0.0/8",  # RFC 1122 loopback
    "172.16.0.0/12",  # RFC 1918 private
    "192.0.0.0/24",  # RFC 6890 protocol assignments
    "192.0.2.0/24",  # RFC 5737 documentation
    "192.31.196.0/24",  # RFC 7535 AS112 sink
    "192.52.193.0/24",  # RFC 7450 multicast tunnel relay
    "192.88.99.0/24",  # RFC 7526 deprecated 6to4 relay
    "192.168.0.0/16",  # RFC 1918 private
    "192.175.48.0/24",  # RFC 7534 AS112 sink
    "198.18.0.0/15",  # RFC 2544 benchmarks
    "198.51.100.0/24",  # RFC 5737 documentation
    "203.0.113.0/24",  # RFC 5737 documentation
    "240.0.0.0/4",  # RFC 1112 reserved
)

#: The only IPv6 space IANA allocates to the public Internet, https://www.iana.org/assignments/ipv6-address-space.
_PUBLIC_V6 = IPv6Network("2000::/3")

#: What of it is not public: IANA IPv6 Special-Purpose Address Registry, https://www.iana.org/assignments/
#: iana-ipv6-special-registry.
_NOT_PUBLIC_V6: tuple[Network, ...] = _nets(
    "2001::/23",  # RFC 2928 protocol assignments: Teredo, benchmarks, ORCHID, AS112, drone remote ID
    "2001:db8::/32",  # RFC 3849 documentation
    "2002::/16",  # RFC 3056 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",  # RFC 7534 AS112 sink
    "3ffe::/16",  # RFC 5156 the former 6bone
    "3fff::/20",  # RFC 9637 documentation
)

#: IPv6 that carries an IPv4 address, and how far up its lowest bit lies: whoever opens the block must have opened
#: that address too.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # RFC 4291 IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # RFC 2765 IPv4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # RFC 6052 NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # RFC 8215 local NAT64, as with a /96 prefix
    (IPv6Network("2002::/16"), 80),  # RFC 3056 6to4
)

_NOT_PUBLIC = Refusal(
    "address_not_public", "must be reached at a public address, or at one within webhook.allowed_nets"
)
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
    return Target(scheme, name, port, _request_target(path, query), address)


def origin_of(url: str) -> str:
    """``scheme://host:port`` of a URL that was acceptable once, as ``Target.origin``, whatever the policy is now."""
    parts = _take_apart(url)
    where = parts if isinstance(parts, Refusal) else _split_authority(parts[1], _DEFAULT_PORT.get(parts[0], 0))
    if isinstance(parts, Refusal) or isinstance(where, Refusal):
        return url
    host, port = where
    return Target(parts[0], host.lower().removesuffix(".").strip("[]"), port, "/", None).origin


def judge_address(ip: Address, policy: Policy) -> Refusal | None:
    """Whether a connection to ``ip`` may be made: ``None`` if so. One refused address refuses the whole name."""
    if _within(ip, SHUT):
        return _NOT_PUBLIC
    if policy.names(ip):
        carried = _carried(ip)
        return None if carried is None else judge_address(carried, policy)
    return None if _is_public(ip) else _NOT_PUBLIC


def loopback_of(name: str, policy: Policy) -> tuple[Address, ...] | None:
    """The addresses of ``localhost`` and names below it, which need no resolver; ``None`` for any other name.

    RFC 6761 section 6.3 gives these names to loopback. Only those the operator opened are listed, for otherwise a
    hosts file with ``::1`` in it would shut ``http://localhost`` to whoever opened ``127.0.0.0/8``.
    """
    if not _is_below(name, "localhost"):
        return None
    return tuple(ip for ip in _LOOPBACK if policy.names(ip))


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
    if name in _METADATA_NAMES:
        return Refusal("private_name", "must not name a cloud metadata service")
    is_private = "." not in name or any(_is_below(name, suffix) for suffix in _PRIVATE_SUFFIXES)
    if (is_private and not policy.allowed_nets) or loopback_of(name, policy) == ():
        return Refusal("private_name", "must have a public host name, unless webhook.allowed_nets opens a private one")
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


def _within(ip: Address, nets: tuple[Network, ...]) -> bool:
    return any(ip.version == net.version and ip in net for net in nets)


def _is_public(ip: Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not _within(ip, _NOT_PUBLIC_V4)
    return ip in _PUBLIC_V6 and not _within(ip, _NOT_PUBLIC_V6)


def _carried(ip: Address) -> IPv4Address | None:
    if isinstance(ip, IPv6Address):
        for net, shift in _CARRIERS:
            if ip in net:
                return IPv4Address(int(ip) >> shift & 0xFFFF_FFFF)
    return None


def _is_below(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")


def parse_address(text: str) -> Address:
    """An address as ``getaddrinfo`` writes it, its zone dropped. Raises: ValueError for anything else."""
    return ip_address(text.partition("%")[0])
