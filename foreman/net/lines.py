"""A response as lines, each handed over as soon as it is there, none of them longer than a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: Bytes asked of the connection at a time; one read returns what has arrived, up to this much.
READ_B = 65_536


def lines(read: Callable[[int], bytes], limit_b: int) -> Iterator[bytes | None]:
    """Each line that is not blank, without its line break; ``None``, as the last, for a line longer than ``limit_b``.

    ``read(size_b)`` returns what has arrived, waiting only if nothing has, and ``b""`` at the end; ``for line in
    response`` would hold lines back until then. What follows the last line break counts as a line.
    """
    pieces: list[bytes] = []
    size_b = 0
    while data := read(READ_B):
        *heads, tail = data.split(b"\n")
        for head in heads:
            pieces.append(head)
            if size_b + len(head) > limit_b:
                yield None
                return
            if line := b"".join(pieces).strip():
                yield line
            pieces, size_b = [], 0
        pieces.append(tail)
        size_b += len(tail)
        if size_b > limit_b:
            yield None
            return
    if line := b"".join(pieces).strip():
        yield line
