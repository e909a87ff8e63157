"""``foreman migrate``: the database's schema brought up to date, or what that would do."""

from __future__ import annotations

import click

from foreman.cli.printing import as_json, print_json


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be applied, and change nothing.")
@as_json
def migrate(*, dry_run: bool, as_json: bool) -> None:
    """Bring the database to the newest schema.

    Every process does so by itself at its start. All migrations are one transaction, under a lock: however many
    processes begin at once, of whatever release, one of them migrates and the others wait.

    \b
    Examples:
      foreman migrate --dry-run             what a new release would do
      foreman migrate                       do it before its processes start
    """  # noqa: D301 -- click needs its \b as it is
    from foreman import stock  # noqa: PLC0415 -- imported when used, as in main.py

    names = stock.pending() if dry_run else stock.migrate()
    if as_json:
        print_json({"pending" if dry_run else "applied": names})
        return
    verb = "would apply" if dry_run else "applied"
    click.echo("\n".join(f"{verb} {name}" for name in names) or "the database is up to date")
