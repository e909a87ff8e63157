"""The commands that speak to a foreman by its URL, at the one under test: in this process, or in their own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from click.testing import CliRunner, Result

from foreman.cli.main import main
from tests.acceptance.foreman_up import COMMAND, ROOT
from tests.acceptance.stack import PATIENCE_S, Stack
from tests.upstream import Behaviour, Exchange, stats


class Start(Protocol):
    """``foreman …`` as a process."""

    def __call__(self, stack: Stack, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it."""


@contextmanager
def starting() -> Iterator[Start]:
    """Starts processes, of which none outlives the block."""
    with ExitStack() as exits:

        def begin(stack: Stack, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
            # A suite that runs in the background is deaf to Ctrl-C, and its children would be.
            heard = signal.signal(signal.SIGINT, signal.default_int_handler)
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environ_of(stack),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )
            signal.signal(signal.SIGINT, heard)
            exits.enter_context(process)
            exits.callback(process.kill)
            return process

        yield begin


def environ_of(stack: Stack) -> dict[str, str]:
    """What a user of that foreman has set, on a terminal with colours."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(stack.directory),
        "PYTHONPATH": str(ROOT),
        "FOREMAN_URL": stack.url,
        "TERM": "xterm",
    }


def run(stack: Stack, *arguments: str, stdin: str | None = None, **environ: str) -> Result:
    """``foreman …`` in this process, as far as that goes: none of these commands leaves anything behind in it."""
    result = CliRunner().invoke(main, arguments, input=stdin, env=environ_of(stack) | environ, prog_name="foreman")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def submitted(stack: Stack, *arguments: str, stdin: str | None = None) -> str:
    """The id that ``foreman submit`` printed, alone."""
    result = run(stack, "submit", "-m", "m", *arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    [line] = result.stdout.splitlines()
    return line


def shown_on(terminal: int) -> bytes:
    """All that has come to a terminal since the last look; one read of it is a page at most."""
    shown = b""
    with suppress(BlockingIOError):
        while piece := os.read(terminal, 65_536):
            shown += piece
    return shown


def slowly(gate: threading.Event) -> Behaviour:
    """A first word, and the rest when the gate is open."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.line(exchange.part({"content": "Once "}))
        exchange.pause(PATIENCE_S, gate)
        exchange.line(exchange.part({"content": "upon a time."}))
        exchange.line(exchange.part({}, **stats(2)))
        exchange.end()

    return behave
