"""``foreman show``: one job, all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from foreman.cli import remote, watching
from foreman.cli.printing import as_json, print_json, print_table
from foreman.cli.words import between, utc
from foreman.domain.printable import one_line

if TYPE_CHECKING:
    from foreman.client import Client, Delivery, Job


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--text", is_flag=True, help="Only what the model said.")
@click.option("--deliveries", is_flag=True, help="Every try to tell the job's receiver.")
@click.option("--wait", is_flag=True, help="Wait for the end first.")
@click.option("--follow", is_flag=True, help="Print the answer as it is generated.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait or follow.")
@as_json
@remote.connected
@click.pass_context
def show(  # noqa: PLR0913  an argument for each option
    ctx: click.Context,
    job_id: str,
    *,
    text: bool,
    deliveries: bool,
    wait: bool,
    follow: bool,
    timeout: float | None,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Show a job: what it took, what came of it, and its webhooks.

    \b
    Examples:
      foreman show 01M85VW3NCMASR2TMX7H7DCM6B
      foreman show 01M85VW3NCMASR2TMX7H7DCM6B --follow      from its beginning, and live
      foreman show 01M85VW3NCMASR2TMX7H7DCM6B --text --wait > answer.txt
      foreman show 01M85VW3NCMASR2TMX7H7DCM6B --deliveries  what the receiver answered
    """  # noqa: D301 -- click needs its \b as it is
    if text + deliveries + follow > 1:
        raise click.UsageError("--text, --deliveries and --follow exclude each other")
    with remote.client(url, key) as foreman:
        job = foreman.get(job_id)
        if deliveries:
            _print_deliveries(list(foreman.deliveries(job.job_id)), as_json=as_json)
            return
    with remote.client(url, key, remote.OUTAGE_S) as foreman:
        if follow or (wait and text):
            watch = watching.follow if follow else watching.wait
            ctx.exit(watching.until_ctrl_c(watch, foreman, job.job_id, timeout, as_json=as_json))
        if wait:
            job = foreman.wait(job.job_id, deadline_s=timeout)
        _print(foreman, job, text=text, as_json=as_json)
        if wait or text:
            ctx.exit(watching.ending(job))


def _print(foreman: Client, job: Job, *, text: bool, as_json: bool) -> None:
    if as_json:
        watching.print_job(job)
        return
    done = job.ended and job.error is None
    if not text:
        for name, value in _lines(job):
            click.echo(f"{name:10}  {one_line(value)}".rstrip())
    if done:
        click.echo("" if text else "\n", nl=False)
        watching.print_text(foreman, job)


def _lines(job: Job) -> Iterator[tuple[str, str]]:
    """What is told of a job, a name and a value each; a blank name goes on with the one before."""
    yield "job", job.job_id
    yield "state", job.state + (f", place {job.queue_position}" if job.queue_position else "")
    if job.error is not None:
        yield "error", f"{job.error.code}: {job.error.message}"
    if job.eta_s is not None:
        yield "done in", f"about {job.eta_s:g} s"
    yield "model", job.model
    yield "priority", job.priority
    if job.metadata:
        yield "metadata", json.dumps(job.metadata)
    yield "run", str(job.attempt)
    yield from _timeline(job)
    if job.expires_at is not None:
        yield "kept until", utc(job.expires_at)
    for artifact in job.artifacts:
        yield "artifact", f"{artifact.name}, {artifact.content_type}, {artifact.size_b} B, {artifact.url}"
    if job.webhook is not None:
        yield "webhook", job.webhook.url
        for event in job.webhook.events:
            answer = event.last_error or event.last_status
            last = f", last answer {answer}" if answer else ""
            yield "", f"{event.state}: {event.status}, tries {event.attempts}{last}"


def _timeline(job: Job) -> Iterator[tuple[str, str]]:
    before = job.created_at
    for state, at in job.timestamps.items():
        yield state, utc(at) + (f"  after {between(before, at)}" if at != before else "")
        before = at


def _print_deliveries(tries: list[Delivery], *, as_json: bool) -> None:
    if as_json:
        print_json(watching.plain(tries))
        return
    rows = [
        (
            str(each.state),
            str(each.attempt),
            utc(each.at),
            each.outcome,
            str(each.status or each.error or ""),
            "" if each.duration_ms is None else f"{each.duration_ms} ms",
            (each.response_excerpt or "")[:60],
        )
        for each in tries
    ]
    print_table(("STATE", "TRY", "AT", "OUTCOME", "ANSWER", "TOOK", "IT SAID"), rows)
