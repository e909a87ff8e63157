from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import address_space
from foreman.domain.address import (
    Listener,
    Policy,
    Refusal,
    Target,
    judge_address,
    judge_url,
    origin_of,
    parse_address,
)
from foreman.domain.address_space import Address, Network

URLS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "data" / "bad-urls.json").read_text())
DEFAULT = Policy()
EVERYTHING = Policy(allow_http=True, allowed_nets=(ip_network("0.0.0.0/0"), ip_network("::/0")))
LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))
REFUSED_BLOCKS = (*address_space.SHUT, *address_space.NOT_PUBLIC_V4, *address_space.NOT_PUBLIC_V6)

addresses = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.ip_addresses(v=6, network="2000::/3"),
    st.ip_addresses(network="::/64"),
)


def within(net: Network) -> st.SearchStrategy[Address]:
    """Addresses of a block, its edges above all."""
    return st.sampled_from([net[0], net[-1]]) | st.ip_addresses(network=net)


def refused(url: str, policy: Policy = DEFAULT) -> str | None:
    """The code of the refusal, ``None`` if there is none."""
    verdict = judge_url(url, policy)
    return verdict.code if isinstance(verdict, Refusal) else None


@pytest.mark.parametrize("case", URLS["refuse_text"], ids=lambda case: ascii(case["url"])[-60:])
def test_a_bad_url_is_refused_from_its_text(case: dict[str, Any]) -> None:
    """What the text alone shows to be bad never reaches DNS."""
    assert isinstance(judge_url(case["url"], DEFAULT), Refusal)


@pytest.mark.parametrize("case", URLS["refuse_address"], ids=lambda case: case["url"])
def test_a_url_with_a_private_address_is_refused_from_its_text(case: dict[str, Any]) -> None:
    """An address written in the URL is judged at submit, and the answer does not repeat it."""
    verdict = judge_url(case["url"], DEFAULT)
    assert isinstance(verdict, Refusal)
    assert verdict.code == "address_not_public"
    assert case["url"].split("/")[2].strip("[]") not in verdict.detail


@pytest.mark.parametrize("case", [*URLS["accept"], *URLS["refuse_dns"]], ids=lambda case: case["url"])
def test_a_url_that_only_dns_can_judge_is_accepted_from_its_text(case: dict[str, Any]) -> None:
    """A public-looking name is accepted at submit, whatever it will resolve to."""
    assert isinstance(judge_url(case["url"], DEFAULT), Target)


@pytest.mark.parametrize("case", URLS["accept"], ids=lambda case: case["url"])
def test_a_public_address_may_be_called(case: dict[str, Any]) -> None:
    """Addresses beside a special block are public."""
    assert [judge_address(parse_address(ip), DEFAULT) for ip in case["resolves_to"]] == [None] * len(
        case["resolves_to"]
    )


@pytest.mark.parametrize("case", URLS["refuse_dns"], ids=lambda case: case["url"])
def test_a_name_that_resolves_to_a_private_address_is_refused(case: dict[str, Any]) -> None:
    """At least one of the addresses that the name hides is refused, which refuses the name."""
    assert any(judge_address(parse_address(ip), DEFAULT) for ip in case["resolves_to"])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://h.example.com/" + "a" * 2048, "length"),
        ("https://bücher.example.com/", "characters"),
        ("https://h.example.com/\x7f", "characters"),
        ("h.example.com/hook", "syntax"),
        ("", "syntax"),
        ("http://h.example.com/", "scheme"),
        ("https://@h.example.com/", "userinfo"),
        ("https://h.example.com:+80/", "port"),
        ("https://h.example.com../", "host"),
        ("https://127.0.0.1./", "host"),
        ("https://010.0.0.1/", "host"),
        ("https://[::1]x/", "host"),
        ("https://metadata.google.internal./", "private_name"),
        ("https://printer.lan/", "private_name"),
        ("https://8.8.8.8:443/", None),
        ("https://h_1.example.com", None),
    ],
)
def test_a_refusal_names_the_rule_that_was_broken(url: str, code: str | None) -> None:
    """The code is stable, so that clients can tell one mistake from another."""
    assert refused(url) == code


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://H.example.com", "h.example.com", "/"),
        ("https://h.example.com.:443/a%20b?q=1#part", "h.example.com", "/a%20b?q=1"),
        ("HTTPS://h.example.com:8443?x", "h.example.com:8443", "/?x"),
        ('https://h.example.com/{a}|"b"', "h.example.com", "/%7Ba%7D%7C%22b%22"),
        ("https://[2606:4700:4700:0::1111]/", "[2606:4700:4700::1111]", "/"),
        ("http://127.0.0.1:9000/hook", "127.0.0.1:9000", "/hook"),
        ("http://localhost:9000/hook", "localhost:9000", "/hook"),
    ],
)
def test_an_accepted_url_is_taken_apart_for_the_request(url: str, authority: str, path: str) -> None:
    """Host header and request target are made once, from the text that was judged."""
    target = judge_url(url, LOOPBACK)
    assert isinstance(target, Target)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    ("url", "nets", "code"),
    [
        ("http://127.0.0.1:9000/hook", ("127.0.0.0/8",), None),
        ("http://localhost:9000/hook", ("127.0.0.0/8",), None),
        ("http://localhost:9000/hook", ("::1/128",), None),
        ("http://localhost:9000/hook", ("10.0.0.0/8",), "private_name"),
        ("http://receiver:9000/hook", ("10.0.0.0/8",), None),
        ("http://hooks.default.svc.cluster.local/", ("10.0.0.0/8",), None),
        ("http://192.168.1.1/", ("10.0.0.0/8",), "address_not_public"),
        ("http://metadata/", ("0.0.0.0/0",), "private_name"),
        ("http://metadata.google.internal/", ("0.0.0.0/0",), "private_name"),
        ("http://169.254.169.254/", ("0.0.0.0/0",), "address_not_public"),
        ("http://h.example.com/", (), None),
        ("http://127.0.0.1/", (), "address_not_public"),
    ],
)
def test_allowed_nets_open_what_they_name_and_no_more(url: str, nets: tuple[str, ...], code: str | None) -> None:
    """Private names and addresses are an operator's to open; metadata services are not."""
    assert refused(url, Policy(allow_http=True, allowed_nets=tuple(map(ip_network, nets)))) == code


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://H.example.com.:443/a?b", "https://h.example.com"),
        ("https://h.example.com:8443/", "https://h.example.com:8443"),
        ("http://localhost:9000/hook", "http://localhost:9000"),
        ("http://[::1]:80/", "http://[::1]"),
        ("ftp://h.example.com/", "ftp://h.example.com:0"),
        ("no url", "no url"),
    ],
)
def test_an_origin_is_one_receiver_whatever_the_policy(url: str, origin: str) -> None:
    """Spellings of one receiver count as one, also for a URL that settings have shut since it was stored."""
    assert origin_of(url) == origin


def test_allowed_nets_alone_do_not_open_plain_http() -> None:
    """The scheme and the network are two settings."""
    assert refused("http://10.0.0.1/", Policy(allowed_nets=(ip_network("10.0.0.0/8"),))) == "scheme"


@pytest.mark.parametrize("net", REFUSED_BLOCKS, ids=str)
def test_every_special_block_is_refused_from_edge_to_edge(net: Network) -> None:
    """First, last and any other address of each block are refused by default."""

    @given(within(net))
    def check(ip: Address) -> None:
        assert judge_address(ip, DEFAULT) is not None

    check()


@pytest.mark.parametrize("net", address_space.SHUT, ids=str)
def test_metadata_and_link_local_stay_shut_in_every_mode(net: Network) -> None:
    """An operator who allows everything still does not open them."""

    @given(within(net))
    def check(ip: Address) -> None:
        assert judge_address(ip, EVERYTHING) is not None

    check()


@given(addresses)
def test_whatever_may_be_called_is_global_unicast(ip: Address) -> None:
    """The tables are never laxer than Python's, which are too lax."""
    if judge_address(ip, DEFAULT) is None:
        assert ip.is_global
        assert not ip.is_multicast


def may_be_called(ip: Address) -> bool:
    """What the registries say of an address, block by block, without the code under test."""
    in_a_block = any(ip.version == block.version and ip in block for block in REFUSED_BLOCKS)
    return not in_a_block and (isinstance(ip, IPv4Address) or ip in ip_network("2000::/3"))


@pytest.mark.parametrize("net", [*REFUSED_BLOCKS, ip_network("2000::/3")], ids=str)
def test_a_block_reaches_from_its_first_address_to_its_last(net: Network) -> None:
    """The address before a block, its first, its last and the one behind it are each judged by where they lie."""
    family = type(net[0])
    for value in (int(net[0]) - 1, int(net[0]), int(net[-1]), int(net[-1]) + 1):
        if 0 <= value < 2**net.max_prefixlen:
            ip = family(value)
            assert (judge_address(ip, DEFAULT) is None) == may_be_called(ip), ip


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("9.255.255.255", True),
        ("11.0.0.0", True),
        ("100.63.255.255", True),
        ("100.128.0.0", True),
        ("126.255.255.255", True),
        ("128.0.0.0", True),
        ("168.63.129.15", True),
        ("168.63.129.16", False),
        ("168.63.129.17", True),
        ("169.253.255.255", True),
        ("169.254.0.0", False),
        ("169.254.255.255", False),
        ("169.255.0.0", True),
        ("172.15.255.255", True),
        ("172.31.255.255", False),
        ("172.32.0.0", True),
        ("223.255.255.255", True),
        ("224.0.0.0", False),
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2000::", True),
        ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2001:200::", True),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db9::", True),
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("3fff:1000::", True),
        ("4000::", False),
    ],
)
def test_the_edges_are_where_the_registries_have_them(ip: str, public: bool) -> None:  # noqa: FBT001  a case
    """Written out by hand, so that a slip in the tables cannot agree with itself."""
    assert (judge_address(parse_address(ip), DEFAULT) is None) == public


@given(addresses)
def test_any_address_is_judged_by_its_block(ip: Address) -> None:
    """No address is public but by the registries."""
    assert (judge_address(ip, DEFAULT) is None) == may_be_called(ip)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]))
def test_an_ipv4_address_in_ipv6_clothes_is_never_public(inner: IPv4Address, prefix: str) -> None:
    """The wrapped forms are refused by default, and opening them opens only IPv4 addresses that are open themselves."""
    wrapped = IPv6Address(int(IPv6Address(prefix)) | int(inner))
    assert judge_address(wrapped, DEFAULT) is not None
    opened = Policy(allowed_nets=(ip_network("::/0"),))
    assert (judge_address(wrapped, opened) is None) == (judge_address(inner, opened) is None)


HOSTS = Policy(allow_http=True, allowed_hosts=("receiver", "hooks.lan", "*.example.internal"))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://receiver:9000/hook", None),
        ("http://RECEIVER.:9000/hook", None),
        ("http://hooks.lan/", None),
        ("http://a.example.internal/", None),
        ("http://a.b.example.internal/", None),
        ("http://example.internal/", "private_name"),
        ("http://badexample.internal/", "private_name"),
        ("http://a.hooks.lan/", "private_name"),
        ("http://receiver2/", "private_name"),
        ("http://localhost/", "private_name"),
        ("http://10.0.0.1/", "address_not_public"),
    ],
)
def test_allowed_hosts_open_names_and_no_more(url: str, code: str | None) -> None:
    """A private name is accepted if it was named, or lies below what was; its neighbours and addresses are not."""
    assert refused(url, HOSTS) == code


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1", "fd12::1", "::1", "1.1.1.1", "::ffff:10.0.0.1"])
def test_a_trusted_name_may_have_private_addresses(ip: str) -> None:
    """That is what it was named for."""
    assert judge_address(parse_address(ip), HOSTS, trusted=True) is None


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "0.0.0.0",
    ],
)
@pytest.mark.parametrize("policy", [EVERYTHING, HOSTS], ids=["nets", "hosts"])
def test_no_setting_opens_link_local_or_metadata(policy: Policy, ip: str) -> None:
    """Neither a network around such an address nor a trusted name that resolves to it, in whatever clothes it comes."""
    assert judge_address(parse_address(ip), policy, trusted=True) is not None


def test_a_metadata_service_stays_shut_below_a_trusted_name() -> None:
    """``*.internal`` is a likely thing to open, and has Google's metadata service in it."""
    policy = Policy(allow_http=True, allowed_hosts=("*.internal", "metadata"))
    assert refused("http://metadata.google.internal/", policy) == "private_name"
    assert refused("http://metadata/", policy) == "private_name"
    assert refused("http://hooks.internal/", policy) is None


OWN = Policy(
    allow_http=True,
    allowed_nets=EVERYTHING.allowed_nets,
    allowed_hosts=("redis", "localhost"),
    own=(
        Listener("127.0.0.1", 8420),
        Listener("0.0.0.0", 8421),
        Listener("localhost", 5432),
        Listener("redis", 6379),
        Listener("::1", 11434),
        Listener("10.0.0.5", 443),
    ),
)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:8420/jobs", "own_address"),
        ("http://127.9.9.9:8420/jobs", "own_address"),
        ("http://localhost:8420/jobs", "own_address"),
        ("http://hooks.localhost:8420/jobs", "own_address"),
        ("http://[::1]:8420/", "own_address"),
        ("http://[::ffff:127.0.0.1]:8420/", "own_address"),
        ("http://127.0.0.1:8421/", "own_address"),
        ("http://localhost:5432/", "own_address"),
        ("http://redis:6379/", "own_address"),
        ("http://REDIS.:6379/", "own_address"),
        ("http://127.0.0.1:11434/api/chat", "own_address"),
        ("https://10.0.0.5/", "own_address"),
        ("https://[64:ff9b::10.0.0.5]/", "own_address"),
        ("http://127.0.0.1:8422/hook", None),
        ("http://localhost:9000/hook", None),
        ("http://redis:6380/", None),
        ("https://10.0.0.6/", None),
        ("http://10.0.0.5:8420/", None),
    ],
)
def test_foreman_is_not_called_by_itself(url: str, code: str | None) -> None:
    """Its API, Redis, database and upstream stay shut however wide the rest is open; their neighbours do not."""
    assert refused(url, OWN) == code


@given(st.text() | st.from_regex(r"https?://[^/]*/?.*"))
def test_any_text_is_judged(text: str) -> None:
    """No text a client can send makes the judge fail, and what is accepted is safe to write into a request."""
    verdict = judge_url(text, EVERYTHING)
    if isinstance(verdict, Target):
        assert all("!" <= char <= "~" for char in verdict.authority + verdict.path)
        assert verdict.path.startswith("/")
