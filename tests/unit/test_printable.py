from __future__ import annotations

import pytest

from foreman.domain.printable import one_line, printable


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[2J\x1b[31mred\x1b[0m", "[2J[31mred[0m"),
        ("\x1b]0;a title\x07", "]0;a title"),
        ("\x9b2J", "2J"),
        ("over\rwritten\x08", "overwritten"),
        ("a\x00b\x7fc", "abc"),
        ("txt.\u202egpj", "txt.gpj"),
        ("half \ud83d of a pair", "half  of a pair"),
        ("lines\nand\ttabs", "lines\nand\ttabs"),
        ("café 漢字 👩‍💻", "café 漢字 👩‍💻"),
    ],
)
def test_text_of_strangers_moves_nothing_on_a_terminal(hostile: str, harmless: str) -> None:
    """What begins an escape sequence or turns text around is gone, and every letter is still there."""
    assert printable(hostile) == harmless


def test_a_text_in_pieces_is_as_harmless_as_the_whole() -> None:
    """A model may send an escape sequence in two chunks."""
    text = "\x1b[31mred\x1b]0;title\x07\x9b1m"
    for cut in range(len(text)):
        assert printable(text[:cut]) + printable(text[cut:]) == printable(text)


def test_a_cell_of_a_table_stays_on_its_line() -> None:
    """Line breaks become blanks, whatever kind they are of."""
    assert one_line("a\nb\r\tc\x1b[1m") == "a b  c[1m"
