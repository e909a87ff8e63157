"""The outer edge of the command line: each expected error is one line on standard error and a status, no traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from typing import Any

import click

from foreman.cli.exits import Exit
from foreman.cli.remote import refusal
from foreman.domain.printable import one_line
from foreman.errors import ArtifactStoreUnavailable, ForemanError, SettingInvalid, StoreUnavailable
from foreman.settings import no_color

#: What writing to a file that can grow no further is answered with.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class Foreman(click.Group):
    """A group whose commands may let wrong settings and services that are away rise."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401 -- the base class's signature
        """Read the command line as far as the command; what is wrong with it is told here."""
        try:
            return super().make_context(*args, **extra)
        except click.ClickException as error:
            _end(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- the base class's signature
        """Run the command; the errors that it may raise are told here."""
        if no_color():
            ctx.color = False
        _write_anything()
        try:
            return super().invoke(ctx)
        except (click.ClickException, ForemanError, OSError, KeyboardInterrupt) as error:
            _end(error)
            raise


def first_line(error: Exception) -> str:
    """What an error says, less the lines of advice that drivers add."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _end(error: BaseException) -> None:
    """End the process and say why, unless nobody expects this error, or click has its own way with it."""
    told = _told(error)
    if told is not None:
        status, lines = told
        for line in lines:
            click.echo(f"foreman: {line}", err=True)
        sys.exit(status)


def _told(error: BaseException) -> tuple[int, list[str]] | None:
    match error:
        case click.ClickException():
            return _misuse(error)
        case SettingInvalid():
            return Exit.MISUSE, str(error).splitlines()
        case StoreUnavailable() | ArtifactStoreUnavailable():
            store = "database" if isinstance(error, StoreUnavailable) else "artifact store"
            return Exit.UNREACHABLE, [f"the {store} cannot be used now: {first_line(error)}"]
        case ForemanError():
            return refusal(error)
        case OSError():
            return _failed_call(error)
        case _:
            return Exit.INTERRUPTED, ["interrupted"]


def _misuse(error: click.ClickException) -> tuple[int, list[str]] | None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return None
    said = one_line(error.format_message()).rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        said += f"; see {error.ctx.command_path} --help"
    return error.exit_code, [said]


def _failed_call(error: OSError) -> tuple[int, list[str]] | None:
    """A file that may not be used, or no room for the output; a reader who has had enough is left to click."""
    if error.filename is not None:
        return Exit.FAILED, [f"{error.filename}: {error.strerror}"]
    if error.errno in _NO_ROOM:
        with contextlib.suppress(OSError):  # or what is left would be written at the end, and fail again
            sys.stdout.close()
        return Exit.FAILED, [f"the output cannot be written: {error.strerror}"]
    return None


def _write_anything() -> None:
    """Text that this terminal's encoding does not have is no reason to fail: it is written in escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")
