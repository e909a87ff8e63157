"""``foreman cancel`` and ``foreman redeliver``: what can be done to jobs that are there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from foreman.cli import remote, watching
from foreman.cli.exits import Exit
from foreman.cli.printing import as_json, print_json
from foreman.cli.words import moment
from foreman.domain.lifecycle import State

if TYPE_CHECKING:
    from foreman.client import Client


@click.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="ID...")
@as_json
@remote.connected
@click.pass_context
def cancel(ctx: click.Context, job_ids: tuple[str, ...], *, as_json: bool, url: str | None, key: str | None) -> None:
    """End jobs. One that runs is cut off at the model server; the text that there was is its artifact "partial".

    A job that has ended by itself already is told of, and makes the status 1.

    \b
    Examples:
      foreman cancel 01M85VW3NCMASR2TMX7H7DCM6B
      foreman jobs --state queued --limit 1000 --json | jq -r '.[].job_id' | xargs foreman cancel
    """  # noqa: D301 -- click needs its \b as it is
    from foreman.client import JobEnded, JobGone, JobNotFound  # noqa: PLC0415 -- imported when used, as in main.py

    status = Exit.OK
    jobs = []
    with remote.client(url, key) as foreman:
        for job_id in job_ids:
            try:
                job = foreman.cancel(job_id)
            except (JobEnded, JobGone, JobNotFound) as error:
                watching.say(f"foreman: {job_id}: {error.detail.rstrip('.')}")
                status = Exit.FAILED
                continue
            jobs.append(watching.plain(job))
            if not as_json:
                click.echo(f"{job.job_id} {'is cancelled' if job.ended else 'will end within seconds'}")
    if as_json:
        print_json(jobs)
    ctx.exit(status)


@click.command()
@click.argument("job_id", required=False, metavar="[ID]")
@click.argument("states", nargs=-1, type=click.Choice([str(each) for each in State]), metavar="[STATE]...")
@click.option("--since", callback=moment, metavar="TIME", help="The dead ones of all jobs since: 12h, 7d, or RFC 3339.")
@click.option("--origin", metavar="URL", help="With --since: those to this receiver alone.")
@as_json
@remote.connected
def redeliver(  # noqa: PLR0913  an argument for each option
    job_id: str | None,
    states: tuple[str, ...],
    *,
    since: datetime | None,
    origin: str | None,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Send webhooks again: a job's, or whatever was given up.

    Of a job those of the states that are named, else all that are dead. With --since the dead ones of all jobs, after a
    receiver was away for long; where keys are asked for, that takes an admin key. Each goes out with the same id and
    body as before, and a new timestamp and signature.

    \b
    Examples:
      foreman redeliver 01M85VW3NCMASR2TMX7H7DCM6B          what was given up
      foreman redeliver 01M85VW3NCMASR2TMX7H7DCM6B done     one event, whatever became of it
      foreman redeliver --since 12h                         what died of all jobs
      foreman redeliver --since 2026-11-24T10:00Z --origin https://hooks.example.com
    """  # noqa: D301 -- click needs its \b as it is
    if (job_id is None) == (since is None):
        raise click.UsageError("name a job, or a time with --since")
    if since is not None:
        _recover(since, origin, url, key, as_json=as_json)
    elif origin is not None:
        raise click.UsageError("--origin goes with --since")
    elif job_id is not None:
        _redeliver(job_id, states, url, key, as_json=as_json)


def _recover(since: datetime, origin: str | None, url: str | None, key: str | None, *, as_json: bool) -> None:
    with remote.client(url, key) as foreman:
        foreman.health()
    # It is there. Now it may take its time: some thousands of events a second.
    with remote.client(url, key, remote.OUTAGE_S) as patient:
        count = patient.webhooks.recover(since, origin)
    if as_json:
        print_json({"recovered": count})
    else:
        click.echo(f"{count} {'event is' if count == 1 else 'events are'} sent again")


def _redeliver(job_id: str, states: tuple[str, ...], url: str | None, key: str | None, *, as_json: bool) -> None:
    with remote.client(url, key) as foreman:
        wanted = states or _dead(foreman, job_id)
        if not wanted:
            raise click.ClickException("No event of this job is dead; name the states to send again.")
        pending = [foreman.redeliver(job_id, state) for state in wanted]
    if as_json:
        print_json(watching.plain(pending))
        return
    for each in pending:
        click.echo(f"{each.event_id} is sent again")


def _dead(foreman: Client, job_id: str) -> tuple[str, ...]:
    webhook = foreman.get(job_id).webhook
    return tuple(str(each.state) for each in webhook.events if each.status == "dead") if webhook else ()
