"""What several commands print alike: JSON, tables in columns, and the option that chooses between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from foreman.domain.printable import one_line

as_json: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)


def print_json(value: object) -> None:
    """Print ``value`` on one line, whatever it holds in ASCII: safe on any terminal."""
    click.echo(json.dumps(value))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` in columns under ``heads``, each on one line."""
    lines = [tuple(heads), *(tuple(map(one_line, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
