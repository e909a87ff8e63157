from __future__ import annotations

import pytest

from foreman.errors import SettingInvalid
from foreman.net.origin import Origin, parse


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://h", Origin("h", 80, tls=False, prefix="", headers={"Host": "h"})),
        ("HTTPS://H/", Origin("h", 443, tls=True, prefix="", headers={"Host": "H"})),
        ("http://h:11434/a/b/", Origin("h", 11434, tls=False, prefix="/a/b", headers={"Host": "h:11434"})),
        ("http://[::1]:11434", Origin("::1", 11434, tls=False, prefix="", headers={"Host": "[::1]:11434"})),
        (
            "https://a:b%3Ac@h",
            Origin("h", 443, tls=True, prefix="", headers={"Host": "h", "Authorization": "Basic YTpiOmM="}),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_url_is_taken_apart(url: str, origin: Origin) -> None:
    """Host without brackets for connecting, with them for the header; the password only in its header."""
    assert parse(url) == origin
    assert "YTpiOmM" not in repr(parse(url))


@pytest.mark.parametrize(
    "url", ["h", "http:///p", "http://h:0x1", "http://h/#f", "http://h/ x", "http://ü", "http://[::1"]
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    """Found out at the start and not at the first job."""
    with pytest.raises(SettingInvalid):
        parse(url)


def test_what_a_server_says_of_our_credentials_is_not_repeated() -> None:
    """The header as it was sent, and the password in it, byte for byte, so that lengths stay true."""
    origin = parse("http://me:p%40ssw%C3%B6rd@gpu.example.com")
    header = origin.headers["Authorization"].removeprefix("Basic ")
    said = f"who is me? p@sswörd ({header}) is wrong".encode()
    concealed = origin.concealed(said)
    assert concealed == b"who is me? " + b"*" * 9 + b" (" + b"*" * len(header) + b") is wrong"
    assert len(concealed) == len(said)


def test_a_server_without_credentials_is_repeated_as_it_is() -> None:
    """And one whose password is too short to be told from words."""
    said = b"no such model"
    assert parse("http://gpu.example.com").concealed(said) == said
    assert parse("http://me:no@gpu.example.com").concealed(said) == said
