"""Server-sent events out of bytes, after the HTML standard, section 9.2.6, less lines that end with CR alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSent:
    """One event. ``id`` is ``None`` where it has none: then the last one that came still counts."""

    id: str | None
    type: str
    data: str


def server_sent(pieces: Iterable[bytes]) -> Iterator[ServerSent]:
    """The events in ``pieces`` of a stream, each as soon as it is whole; one that breaks off is none."""
    fields: dict[str, list[str]] = {}
    for line in _lines(pieces):
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            ids = [each for each in fields.get("id", ()) if "\0" not in each]
            kind = fields.get("event", [""])[-1] or "message"
            yield ServerSent(ids[-1] if ids else None, kind, "\n".join(fields["data"]))
        fields = {}


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines without their breaks; what follows the last break is no line."""
    begun: list[bytes] = []
    for piece in pieces:
        *heads, rest = piece.split(b"\n")
        for head in heads:
            begun.append(head)
            yield b"".join(begun).removesuffix(b"\r").decode("utf-8", "replace")
            begun = []
        begun.append(rest)
