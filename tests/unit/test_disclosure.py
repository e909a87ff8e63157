from __future__ import annotations

import pytest

from foreman.domain.disclosure import shown, shown_url
from foreman.domain.endpoint import Endpoint


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://foreman:hunter2@db/foreman", "postgresql://foreman:***@db/foreman"),
        ("postgresql://foreman@db/foreman", "postgresql://foreman@db/foreman"),
        (
            "postgresql://db/x?password=hunter2&host=/run&sslpassword=hunter2",
            "postgresql://db/x?password=***&host=/run&sslpassword=***",
        ),
        ("redis://:hunter2@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("https://hunter2@gpu.example.com/api", "https://***@gpu.example.com/api"),
        ("http://me:hun@ter2@gpu", "http://me:***@gpu"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("sqlite:////var/foreman.db", "sqlite:////var/foreman.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, told: str) -> None:
    """And with everything else, since that is what is wrong with it as a rule."""
    assert shown_url(url) == told


def test_a_secret_shows_only_that_it_is_set() -> None:
    """Whoever pastes the output into a report gives nothing away."""
    assert shown("whsec_aHVudGVyMg==", secret=True) == "***"
    assert shown("", secret=True) == ""
    assert shown(8.0, secret=False) == "8"
    assert shown((1.0, 2.5), secret=False) == "1,2.5"


def test_of_several_upstreams_the_keys_and_passwords_are_hidden() -> None:
    """Each in its place, and the rest is readable."""
    told = shown((Endpoint("gpu-1", "http://me:hunter2@gpu:1", slots=2, api_key="hunter2"),), secret=True)
    assert "hunter2" not in told
    assert "gpu-1" in told
    assert "http://me:***@gpu:1" in told
