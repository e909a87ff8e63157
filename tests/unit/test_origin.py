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
