"""How the output of several processes is shown as one: whole lines, each after the name of who printed it."""

from __future__ import annotations

import contextlib
from typing import TextIO

from foreman.settings import no_color

#: Bytes of a line without an end that are held back; more is shown as it is.
MAX_LINE_B = 64 << 10

#: ANSI colours, one after the other for each name: cyan, green, yellow, blue, magenta, and their bright forms.
_COLOURS = (36, 32, 33, 34, 35, 96, 92, 93, 94, 95)


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes, without their ends."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= MAX_LINE_B:
            whole.append(self._rest)
            self._rest = b""
        return [_decode(line) for line in whole]

    def end(self) -> list[str]:
        """The line that was begun and will not be ended, if there is one."""
        rest, self._rest = self._rest, b""
        return [_decode(rest)] if rest else []


class Console:
    """Prints lines on ``stream``, names in colour if it is a terminal."""

    def __init__(self, stream: TextIO, names: list[str]) -> None:
        self._stream = stream
        self._width = max(map(len, names), default=0)
        coloured = stream.isatty() and not no_color()
        self._colours = dict(zip(names, _COLOURS * len(names), strict=False)) if coloured else {}

    def show(self, name: str, line: str) -> None:
        """Print ``line`` as said by ``name``. A terminal that has gone away stops nothing."""
        prefix = f"{name:{self._width}} |"
        if name in self._colours:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        with contextlib.suppress(OSError):
            self._stream.write(f"{prefix} {line}\n")
            self._stream.flush()


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
