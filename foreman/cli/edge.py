"""The outer edge of the command line: each expected error is one line on standard error and a status, no traceback."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any, NoReturn

import click

from foreman.cli.exits import Exit
from foreman.cli.remote import refusal
from foreman.errors import ArtifactStoreUnavailable, ForemanError, SettingInvalid, StoreUnavailable
from foreman.settings import no_color


class Foreman(click.Group):
    """A group whose commands may let wrong settings and services that are away rise."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- the base class's signature
        """Run the command; the errors that it may raise are told here."""
        if no_color():
            ctx.color = False
        _write_anything()
        try:
            return super().invoke(ctx)
        except SettingInvalid as error:
            for line in str(error).splitlines():
                click.echo(f"foreman: {line}", err=True)
            ctx.exit(Exit.MISUSE)
        except StoreUnavailable as error:
            end(ctx, Exit.UNREACHABLE, f"the database cannot be used now: {first_line(error)}")
        except ArtifactStoreUnavailable as error:
            end(ctx, Exit.UNREACHABLE, f"the artifact store cannot be used now: {first_line(error)}")
        except ForemanError as error:
            refused = refusal(error)
            if refused is None:
                raise
            status, lines = refused
            end(ctx, status, "\nforeman: ".join(lines))
        except KeyboardInterrupt:
            end(ctx, Exit.INTERRUPTED, "interrupted")


def end(ctx: click.Context, status: Exit, line: str) -> NoReturn:
    """End the command with ``status``, and say why in one line."""
    click.echo(f"foreman: {line}", err=True)
    ctx.exit(status)


def first_line(error: Exception) -> str:
    """What an error says, less the lines of advice that drivers add."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _write_anything() -> None:
    """Text that this terminal's encoding does not have is no reason to fail: it is written in escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")
