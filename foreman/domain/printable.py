"""Text of strangers, a model's or a receiver's, made harmless for a terminal: it may not move, colour or retitle it."""

from __future__ import annotations

#: C0 and C1 controls and DEL: with them escape sequences begin, in the two-byte form and the one of eight bits.
#: ECMA-48, sections 5.2 to 5.5.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
#: They make text read in another order than it is written, and end lines where nothing expects it: UAX 9, section 2.
_REORDERING = (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029)
#: Halves of a pair, which no encoding can write.
_SURROGATES = range(0xD800, 0xE000)

_DROPPED = dict.fromkeys((*_CONTROLS, *_REORDERING, *_SURROGATES))
_LINES = {number: keep for number, keep in _DROPPED.items() if number not in (0x0A, 0x09)}
_ONE_LINE = _DROPPED | {0x0A: " ", 0x0D: " ", 0x09: " "}


def printable(text: str) -> str:
    """``text`` without control characters, but for line breaks and tabs.

    A piece of a text is treated as the whole would be, so that it can be printed as it comes: of an escape sequence
    what follows the ESC stays, as plain letters.
    """
    return text.translate(_LINES)


def one_line(text: str) -> str:
    """``text`` as a cell of a table: blanks for line breaks and tabs too."""
    return text.translate(_ONE_LINE)
