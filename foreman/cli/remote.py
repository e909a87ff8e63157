"""The foreman that a command speaks to: where it is, who asks, and how what it refuses is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foreman.cli import local
from foreman.cli.exits import Exit
from foreman.domain.printable import one_line
from foreman.errors import ForemanError
from foreman.settings import from_environment, remote_from_environment

if TYPE_CHECKING:
    from foreman.client import Client

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds that a command puts up with a foreman that does not answer: a person waits, and may try again.
DEADLINE_S = 5.0
#: Seconds of trouble in a row that following or waiting bears: a restart with a recovery of its database.
OUTAGE_S = 60.0


def connected(command: F) -> F:
    """Add the options that say which foreman: the command gets ``url`` and ``key``, to hand to ``client``."""
    key = click.option("--key", metavar="KEY", help="API key; FOREMAN_API_KEY, which others cannot see, is better.")
    url = click.option("--url", metavar="URL", help="Which foreman; else FOREMAN_URL, else the one of this machine.")
    return url(key(command))


def client(url: str | None, key: str | None, deadline_s: float = DEADLINE_S) -> Client:
    """The foreman of the options, else of the environment, else of this machine's settings; to be closed.

    Raises:
        click.UsageError: the URL or the key cannot be used.
        SettingInvalid: neither was given, and the settings are wrong.
    """
    from foreman.client import Client  # noqa: PLC0415 -- imported when used, as in main.py

    environment = remote_from_environment()
    found = url or environment.url or local.url(from_environment().web.bind)
    key = key or environment.api_key
    if key is not None and not (key.isascii() and key.isprintable()):
        raise click.UsageError("the API key must be printable ASCII")
    try:
        return Client(found, key, deadline_s=deadline_s)
    except ValueError as error:
        raise click.UsageError(f"{found}: {error}") from error


def refusal(error: ForemanError) -> tuple[Exit, list[str]] | None:
    """The status and the lines for what a client raised; ``None``: that is no client's error."""
    from foreman import client as errors  # noqa: PLC0415 -- see above

    match error:
        case errors.KeyRefused():
            kind = " --admin" if error.kind == "admin-key-required" else ""
            advice = f"give one by FOREMAN_API_KEY; `foreman keys create NAME{kind}` makes one"
            return Exit.FAILED, [f"{_told(error)}: {advice}"]
        case errors.Unreachable() | errors.AnswerUnreadable():
            return Exit.UNREACHABLE, [one_line(f"foreman cannot be reached: {error}")]
        case errors.Refused():
            status = Exit.UNREACHABLE if isinstance(error, errors.Unavailable) else Exit.FAILED
            lines = [one_line(f"{each.pointer or 'the body'}: {each.detail}") for each in error.problems]
            return status, lines or [_told(error)]
        case errors.ClientError():
            return Exit.FAILED, [one_line(str(error))]
        case _:
            return None


def _told(error: Any) -> str:  # noqa: ANN401 -- a client's Refused, which is imported late
    return one_line(error.detail or error.title).rstrip(".")
