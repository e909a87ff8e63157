"""JSON that is wrong in every way there is: values, trees with a branch replaced, and text that only looks like it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

#: Numbers, texts and containers that some reader, somewhere, took for something else.
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -0.0, 1.5, 60, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64),
    *(10**25, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff x",
        "a" * 5000,
        "\U0001f600",
        "\u202e",
        "\r\n",
        "null",
        "1",
        "1e5",
        "5m",
    ),
    *(
        "user",
        "done",
        "batch",
        "interactive",
        "tool",
        "/",
        "../../etc/passwd",
        "'; --",
        "%s%n",
        "${x}",
        "\N{BOM}",
        "é" * 300,
    ),
    *([], {}, [[]], [{}], [None], {"": ""}, {"\0": 1}, {"\ud800": 1}, {"a": {"a": {"a": []}}}, ["a"] * 300),
)


def junk(dice: random.Random) -> Any:
    """A value that most places do not expect."""
    if dice.random() < 0.15:
        return dice.randrange(-(2**70), 2**70) if dice.random() < 0.5 else text(dice)
    return dice.choice(JUNK)


def text(dice: random.Random) -> str:
    """Any characters, short."""
    top = dice.choice((0x7F, 0xFF, 0x2FFF, 0x10FFFF))
    return "".join(chr(dice.randrange(top)) for _ in range(dice.randrange(12)))


def tree(dice: random.Random, names: tuple[str, ...], depth: int = 3) -> Any:
    """A tree of anything, with names that mean something somewhere."""
    kind = dice.random()
    if depth == 0 or kind < 0.4:
        return junk(dice)
    if kind < 0.6:
        return [tree(dice, names, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(names): tree(dice, names, depth - 1) for _ in range(dice.randrange(5))}


def changed(dice: random.Random, value: Any, names: tuple[str, ...]) -> Any:
    """``value`` with one branch gone, replaced, doubled, or joined by another."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        value = dict(value)
        key = dice.choice(list(value))
        match dice.randrange(6):
            case 0:
                del value[key]
            case 1:
                value[key] = junk(dice)
            case 2:
                value[dice.choice(names)] = tree(dice, names, 2)
            case 3:
                value[key] = [value[key]]
            case _:
                value[key] = changed(dice, value[key], names)
        return value
    if isinstance(value, list) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        how = dice.random()
        new = [] if how < 0.2 else [value[at]] * 2 if how < 0.3 else [changed(dice, value[at], names)]
        return [*value[:at], *new, *value[at + 1 :]]
    return tree(dice, names, 2) if dice.random() < 0.3 else junk(dice)


def written(dice: random.Random, value: Any) -> bytes:
    """``value`` as JSON, with escapes or without, blanks or none, and in another coding now and then."""
    indent = dice.choice((None, None, None, 1))
    made = json.dumps(value, ensure_ascii=dice.random() < 0.6, indent=indent, default=str)
    coding = "utf-8" if dice.random() < 0.97 else dice.choice(("utf-16", "utf-8-sig", "utf-32-le", "latin-1"))
    return made.encode(coding, "surrogatepass" if coding.startswith("utf") else "replace")


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _overwritten(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.randrange(1, 4)) + data[at + dice.randrange(3) :]


def _flipped(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(max(1, len(data)))
    return data[:at] + bytes(each ^ 1 << dice.randrange(8) for each in data[at : at + 1]) + data[at + 1 :]


def _nested(dice: random.Random, data: bytes) -> bytes:
    deep = dice.choice((50, 500, 1500, 100_000 if dice.random() < 0.1 else 3000))
    opening, closing = dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return opening * deep + data + closing * (deep if dice.random() < 0.7 else 0)


def _doubled(dice: random.Random, data: bytes) -> bytes:
    return data[:-1] + b"," + data[1:] if data[:1] == b"{" and dice.random() < 0.7 else data + data


def _strange_number(dice: random.Random, data: bytes) -> bytes:
    numbers = (b"1e999", b"-1e999", b"NaN", b"-Infinity", b"01", b"1.", b".5", b"0x10", b"9" * 5000, b"1e-9999", b"-")
    return data.replace(b"1", dice.choice(numbers), 1) if b"1" in data else b'{"model":%b}' % dice.choice(numbers)


def _spliced(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    bits = (
        b"\\ud800",
        b"\\u0000",
        b"\\",
        b'"',
        b"\xff\xfe",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"/*x*/",
        b",",
        b"\0",
        b"\xef\xbb\xbf",
    )
    return data[:at] + dice.choice(bits) + data[at:]


_DAMAGE: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_cut, _overwritten, _flipped, _nested, _doubled, _strange_number, _spliced),
)


def damaged(dice: random.Random, data: bytes) -> bytes:
    """Bytes that were JSON."""
    return dice.choice(_DAMAGE)(dice, data)
