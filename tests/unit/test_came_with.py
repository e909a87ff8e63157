from __future__ import annotations

import pytest

from foreman.domain.came_with import request_id_of, traceparent_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header", ["01J9ZK3V8Q0000000000000000", "9f1c2d4e-0b5e-4a5f-9d8e-3a1b2c3d4e5f", "Root=1-67891233-abcdef012345678"]
)
def test_a_request_id_that_is_one_is_kept(header: str) -> None:
    """Those of load balancers and of other servers, as they are."""
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", [None, "", " ", "a b", "a\nb", "a,b", '"a"', "{}", "ä", "x" * 129])
def test_a_request_id_that_could_pass_for_something_else_is_not(header: str | None) -> None:
    """It goes into every line of the log, so it cannot be a sentence."""
    assert request_id_of(header) is None


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", f"00-{TRACE}-{SPAN}-01"),
    ],
)
def test_a_traceparent_is_kept_in_the_form_of_version_00(header: str, kept: str) -> None:
    """As W3C Trace Context says: a later version is read as far as this one goes."""
    assert traceparent_of(header) == kept


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_traceparent_that_is_not_valid_is_none(header: str | None) -> None:
    """A new trace is better than a broken one."""
    assert traceparent_of(header) is None
