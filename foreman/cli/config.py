"""``foreman config``: every setting, what it is, and who said so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import click

from foreman.cli.printing import as_json, print_json, print_table
from foreman.domain.disclosure import shown
from foreman.errors import SettingInvalid
from foreman.settings import KEYS, Settings, Source, from_environment


@dataclass(frozen=True, slots=True)
class _Line:
    """One setting. ``origin`` is the variable or the file that it was set in; empty for a default."""

    name: str
    value: str
    source: str
    origin: str


@click.command()
@click.argument("names", nargs=-1, metavar="[SECTION | SECTION.KEY]...")
@click.option("--changed", is_flag=True, help="Only what is not a default.")
@as_json
def config(names: tuple[str, ...], *, changed: bool, as_json: bool) -> None:
    """Show every setting, its value, and where that came from.

    That is default, file or env. Secrets are shown as ***, also those within a URL, so that the output can be passed
    on.

    \b
    Examples:
      foreman config                        everything
      foreman config webhook web.bind       one section, and one setting
      foreman config --changed              what differs from the defaults
      foreman config --json | jq '.[] | select(.source == "env")'
    """  # noqa: D301 -- click needs its \b as it is
    settings = from_environment()
    lines = [line for line in _lines(settings) if _is_wanted(line, names) and (line.source != "default" or not changed)]
    unknown = [name for name in names if not any(_is_wanted(line, (name,)) for line in _lines(settings))]
    if unknown:
        raise SettingInvalid(unknown[0], f"no such setting or section; there are {', '.join(KEYS)}")
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        print_table(
            ("SETTING", "VALUE", "FROM"), [(line.name, line.value, line.origin or line.source) for line in lines]
        )


def _lines(settings: Settings) -> Iterator[_Line]:
    for section in KEYS:
        values = getattr(settings, section)
        for key in fields(values):
            name = f"{section}.{key.name}"
            value = shown(getattr(values, key.name), secret=key.metadata["secret"])
            source = settings.source(name)
            yield _Line(name, value, str(source), "" if source is Source.DEFAULT else settings.origins[name])


def _is_wanted(line: _Line, names: tuple[str, ...]) -> bool:
    return not names or any(line.name == name or line.name.startswith(f"{name}.") for name in names)
