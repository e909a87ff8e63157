"""Whether a form was sent by the page: every combination of what browsers say of it."""

from __future__ import annotations

import pytest

from foreman.domain.session import form_token, is_from_page, is_sent, is_token

HOST, PUBLIC = "127.0.0.1:8420", "https://foreman.example.com/base"


@pytest.mark.parametrize(
    ("fetch_site", "origin", "ours"),
    [
        ("same-origin", None, True),
        ("same-origin", "null", True),
        ("same-site", "http://127.0.0.1:8420", False),
        ("cross-site", "http://127.0.0.1:8420", False),
        ("none", None, False),
        ("", None, False),
        ("same-origin, cross-site", None, False),
        (None, "http://127.0.0.1:8420", True),
        (None, "https://127.0.0.1:8420", True),
        (None, "https://foreman.example.com", True),
        (None, "HTTPS://Foreman.example.com", True),
        (None, "http://foreman.example.com", False),
        (None, "http://[", False),
        (None, "https://foreman.example.com:444", False),
        (None, "http://127.0.0.1", False),
        (None, "http://127.0.0.1:8420.evil.example", False),
        (None, "http://user@127.0.0.1:8420", False),
        (None, "ftp://127.0.0.1:8420", False),
        (None, "null", False),
        (None, "", False),
        (None, "127.0.0.1:8420", False),
        (None, None, False),
    ],
)
def test_a_form_is_the_pages_only_if_the_browser_says_so(
    fetch_site: str | None, origin: str | None, *, ours: bool
) -> None:
    """Where it says which site, that counts; else the origin, which must be the host asked or the public one."""
    assert is_from_page(fetch_site=fetch_site, origin=origin, host=HOST, public_url=PUBLIC) is ours


def test_an_origin_without_a_host_is_not_ours() -> None:
    """Nor where nothing was asked for by name."""
    assert not is_from_page(fetch_site=None, origin="http://", host="", public_url="")


def test_a_form_token_is_of_one_browser() -> None:
    """It is not the token itself, which the form would show to whoever reads the page."""
    one, two = "A" * 43, "B" * 43
    assert is_sent(one, form_token(one))
    assert not is_sent(one, form_token(two))
    assert not is_sent(one, one)
    assert not is_sent(None, form_token(one))
    assert not is_sent(one, "é")


@pytest.mark.parametrize("text", [None, "", "A" * 42, "A" * 44, "é" * 43, "A" * 42 + "\n", "A" * 42 + "="])
def test_what_is_no_token_is_not_looked_up(text: str | None) -> None:
    """A cookie may hold anything."""
    assert not is_token(text)
