"""Listings that come in pages, as one row of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from msgspec import Raw, Struct, json, to_builtins

from foreman.client.patience import Patience
from foreman.client.transport import Request, Transport

T = TypeVar("T")


class _End(Struct, frozen=True):
    next_cursor: str | None = None


def pages(
    transport: Transport, request: Request, member: str, kind: type[tuple[T, ...]], outage_s: float
) -> Iterator[T]:
    """What is in the list ``member`` of every page, read as ``kind``; the next is asked for when it is needed.

    Raises: as ``Transport.send``, each page within ``outage_s``; AnswerUnreadable.
    """
    first = list(request.query)
    while True:
        body = transport.send(request, Patience(outage_s)).body
        page = transport.decoded(body, dict[str, Raw])
        yield from transport.decoded(page.get(member, b"[]"), kind)
        cursor = transport.decoded(body, _End).next_cursor
        if cursor is None:
            return
        request = replace(request, query=[*first, ("cursor", cursor)])


def given(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Query parameters: those that are not ``None``."""
    return [(name, text_of(value)) for name, value in values.items() if value is not None]


def text_of(value: object) -> str:
    """A value in a query: a string as it is, a time as RFC 3339, anything else as JSON."""
    plain = to_builtins(value)
    return plain if isinstance(plain, str) else json.encode(plain).decode()
