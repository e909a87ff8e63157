"""The address space as registries and clouds divide it: what is public, what is shut for good, what is a disguise.

``ipaddress.is_global`` is no such judge: of 48 addresses that must not be called it passed 20 on Python 3.11, and its
answers change between releases. The tables here are explicit, and what they do not open stays shut.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Names of cloud metadata services (EC2, GCE, Azure, Tencent, Equinix, IBM, Rancher): shut in every mode, before DNS.
METADATA_NAMES = frozenset(
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
PRIVATE_SUFFIXES = (
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
NOT_PUBLIC_V4: tuple[Network, ...] = _nets(
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
PUBLIC_V6 = IPv6Network("2000::/3")

#: What of it is not public: IANA IPv6 Special-Purpose Address Registry, https://www.iana.org/assignments/
#: iana-ipv6-special-registry.
NOT_PUBLIC_V6: tuple[Network, ...] = _nets(
    "2001::/23",  # RFC 2928 protocol assignments: Teredo, benchmarks, ORCHID, AS112, drone remote ID
    "2001:db8::/32",  # RFC 3849 documentation
    "2002::/16",  # RFC 3056 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",  # RFC 7534 AS112 sink
    "3ffe::/16",  # RFC 5156 the former 6bone
    "3fff::/20",  # RFC 9637 documentation
)

#: IPv6 that carries an IPv4 address, and how far up its lowest bit lies: whoever opens the block must have opened
#: that address too.
CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # RFC 4291 IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # RFC 2765 IPv4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # RFC 6052 NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # RFC 8215 local NAT64, as with a /96 prefix
    (IPv6Network("2002::/16"), 80),  # RFC 3056 6to4
)


def within(ip: Address, nets: tuple[Network, ...]) -> bool:
    """Whether one of ``nets`` holds ``ip``."""
    return any(ip.version == net.version and ip in net for net in nets)


def is_public(ip: Address) -> bool:
    """Whether ``ip`` belongs to the public Internet, as the registries have it; ``SHUT`` is a matter of its own."""
    if isinstance(ip, IPv4Address):
        return not within(ip, NOT_PUBLIC_V4)
    return ip in PUBLIC_V6 and not within(ip, NOT_PUBLIC_V6)


def carried(ip: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 address, where packets to it may end up; ``None``: there is none."""
    if isinstance(ip, IPv6Address):
        for net, shift in CARRIERS:
            if ip in net:
                return IPv4Address(int(ip) >> shift & 0xFFFF_FFFF)
    return None
