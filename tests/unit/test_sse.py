from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from foreman.client.sse import ServerSent, server_sent

STREAM = (
    "retry: 1000\n\n:\n\n"
    'id: 1\nevent: text\ndata: {"a":\ndata: 1}\n\n'
    "event: gap\r\ndata:{}\r\n\r\n"
    "id: a\0b\ndata: é\n\n"
    "event: state\n\n"
    "id: 2\nevent: state\ndata: broken off\n"
).encode()

EVENTS = [
    ServerSent("1", "text", '{"a":\n1}'),
    ServerSent(None, "gap", "{}"),
    ServerSent(None, "message", "é"),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_come_out_whole_however_the_bytes_come_in(cuts: list[int]) -> None:
    """Every way to cut the stream gives the same events; what has no data, or breaks off, is none."""
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(places)]
    assert list(server_sent(pieces)) == EVENTS


def test_an_event_is_there_as_soon_as_it_is_whole() -> None:
    """What follows is not waited for."""
    pieces = iter([b"data: 1\n\n", b"data: 2\n\n"])
    events = server_sent(pieces)
    assert next(events).data == "1"
    assert next(pieces) == b"data: 2\n\n"
