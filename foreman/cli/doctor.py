"""``foreman doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from foreman.cli.exits import Exit
from foreman.cli.printing import as_json, print_json
from foreman.domain.finding import Finding, Level
from foreman.domain.printable import one_line
from foreman.errors import SettingInvalid
from foreman.settings import SettingsInvalid

if TYPE_CHECKING:
    from foreman.settings import Settings

#: Level -> how it is marked, and in which colour.
_MARKS = {Level.OK: ("ok", "green"), Level.WARNING: ("note", "yellow"), Level.PROBLEM: ("FAIL", "red")}


@click.command()
@click.option("--strict", is_flag=True, help="Notes count as problems too.")
@as_json
def doctor(*, strict: bool, as_json: bool) -> None:
    """Say what is wrong here, and what to do about it.

    Looked at are settings, database, broker, upstreams and their models, webhook secret, clock, disk and port, with the
    settings of this environment, whether foreman runs or not. Nothing is changed. Status 1: there is a problem.

    \b
    Examples:
      foreman doctor                        before a start, or when something does not work
      foreman doctor --strict               for a deployment: what is only advised is required
      foreman doctor --json | jq '.findings[] | select(.level != "ok")'
    """  # noqa: D301 -- click needs its \b as it is
    findings = _findings()
    bad = {Level.PROBLEM, Level.WARNING} if strict else {Level.PROBLEM}
    is_well = not any(each.level in bad for each in findings)
    if as_json:
        print_json({"ok": is_well, "findings": [asdict(each) for each in findings]})
    else:
        _print(findings)
    sys.exit(Exit.OK if is_well else Exit.FAILED)


def _findings() -> list[Finding]:
    from foreman import wiring  # noqa: PLC0415 -- imported when used, as in main.py

    try:
        return _looked(wiring.settings())
    except SettingInvalid as error:
        problems = error.problems if isinstance(error, SettingsInvalid) else (error,)
        remedy = "correct it; conf/foreman.toml says what each setting means"
        return [Finding("settings", Level.PROBLEM, str(problem), remedy) for problem in problems]


def _looked(settings: Settings) -> list[Finding]:
    from foreman.cli.checks import CHECKS  # noqa: PLC0415 -- see above

    # At once: what does not answer is waited for, and there may be several.
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = [each for some in pool.map(lambda check: list(check(settings)), CHECKS) for each in some]
    return sorted(found, key=lambda each: each.place)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(each.check) for each in findings)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for each in findings:
        mark, colour = _MARKS[each.level]
        head = f"{mark:4}  {each.check:{width}}  "
        indent = " " * len(head)
        click.secho(head, fg=colour, nl=False)
        click.echo(_wrapped(one_line(each.detail), columns, indent))
        if each.remedy:
            click.echo(indent + _wrapped(f"-> {each.remedy}", columns, indent + "   "))


def _wrapped(text: str, columns: int, indent: str) -> str:
    """``text`` without its first indent, in lines of ``columns``; 0: in one, for whoever searches it."""
    room = columns - len(indent)
    return f"\n{indent}".join(textwrap.wrap(text, room)) if room > len(indent) else text
