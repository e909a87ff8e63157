"""``foreman prune``: what the clock process does every ``prune.interval_s``, now, and what went."""

from __future__ import annotations

from dataclasses import asdict

import click

from foreman.cli.printing import as_json, print_json


@click.command()
@as_json
def prune(*, as_json: bool) -> None:
    """Remove the jobs whose time is over, now.

    foreman does so by itself every prune.interval_s. A job goes once its expires_at is past and its webhooks are
    settled; its id is known for prune.tombstone_ttl_s after that. A live job never goes.

    \b
    Examples:
      foreman prune                         what went, in one line
      foreman prune --json                  {"jobs": 3, "objects": 1, "tombstones": 0}
    """  # noqa: D301 -- click needs its \b as it is
    from foreman import wiring  # noqa: PLC0415 -- imported when used, as in main.py

    wiring.migrate()
    pruned = wiring.pruner().prune()
    wiring.measurer().hand_over()
    if as_json:
        print_json(asdict(pruned))
        return
    counted = (
        (pruned.jobs, "job with all that belongs to it", "jobs with all that belongs to them"),
        (pruned.objects, "object in the artifact store", "objects in the artifact store"),
        (pruned.tombstones, "id that is unknown from now on", "ids that are unknown from now on"),
    )
    lines = [f"removed {number} {one if number == 1 else more}" for number, one, more in counted if number]
    click.echo("\n".join(lines) or "nothing has expired")
