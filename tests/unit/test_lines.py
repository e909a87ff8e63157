from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.net.lines import lines


def split(*reads: bytes, limit_b: int = 1000) -> list[bytes | None]:
    """The lines of a response that arrives in ``reads``."""
    arriving = iter(reads)
    return list(lines(lambda _: next(arriving, b""), limit_b))


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ((), []),
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b\n", b"c"), [b"ab", b"c"]),
        ((b"a\r\n\r\n\n \nb",), [b"a", b"b"]),
    ],
    ids=["nothing", "two in one read", "one in two reads", "blank lines"],
)
def test_lines_do_not_depend_on_reads(reads: tuple[bytes, ...], expected: list[bytes]) -> None:
    """A packet may hold several lines, or a part of one; blank lines, by which some servers stay alive, are none."""
    assert split(*reads) == expected


def test_a_line_is_handed_over_before_the_next_read() -> None:
    """A token must not wait for the one after it."""
    arrived = iter([b"a\n"])
    assert next(lines(lambda _: next(arrived), 10)) == b"a"


@pytest.mark.parametrize(
    "reads", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 6, b"x" * 5 + b"\n"), (b"x" * 11 + b"\n",)]
)
def test_a_line_longer_than_the_limit_ends_it(reads: tuple[bytes, ...]) -> None:
    """Ten bytes are let through, eleven are not, however they arrive; nothing after them is read."""
    assert split(b"x" * 10 + b"\n", *reads, b"next\n", limit_b=10) == [b"x" * 10, None]


@given(st.lists(st.binary(min_size=1)))
def test_nothing_is_lost_or_invented(reads: list[bytes]) -> None:
    """The lines are those of the whole, wherever it was cut."""
    whole = b"".join(reads)
    assert split(*reads, limit_b=len(whole)) == [line.strip() for line in whole.split(b"\n") if line.strip()]
