"""``foreman jobs``: what there is, once or live."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from foreman.cli import remote, watching
from foreman.cli.printing import as_json, print_json, print_table
from foreman.cli.words import between, moment, pairs
from foreman.domain.lifecycle import State
from foreman.domain.printable import one_line
from foreman.settings import no_color

if TYPE_CHECKING:
    from rich.table import Table

    from foreman.client import Client, Summary

#: Seconds between two looks with --watch, if nobody says otherwise: as alive as anybody can read.
_EVERY_S = 2.0
_HEADS = ("ID", "STATE", "MODEL", "PRIORITY", "RUN", "AGE", "TOOK", "WHY OR WHAT")
_COLOURS = {State.LOADING: "yellow", State.WORKING: "cyan", State.DONE: "green", State.FAILED: "red"}


class _Filters(TypedDict):
    """Options that choose."""

    state: str | None
    model: str | None
    metadata: dict[str, Any]
    since: datetime | None


@click.command()
@click.option("--state", type=click.Choice([str(each) for each in State]), help="Only those in this state.")
@click.option("--model", metavar="NAME", help="Only those for this model.")
@click.option("--metadata", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Only those labelled so.")
@click.option("--since", callback=moment, metavar="TIME", help="Only those submitted since: 2h, 7d, or RFC 3339.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--watch", is_flag=True, help="Go on looking, until Ctrl-C.")
@click.option("--every", type=click.FloatRange(min=0.2), default=_EVERY_S, metavar="S", help="Seconds between looks.")
@as_json
@remote.connected
def jobs(  # noqa: PLR0913  an argument for each option
    *,
    limit: int,
    watch: bool,
    every: float,
    as_json: bool,
    url: str | None,
    key: str | None,
    **filters: Unpack[_Filters],
) -> None:
    """List jobs, newest first.

    With --watch the list stays on a terminal and is kept up to date; where standard output is none, each job is printed
    when it is first seen and whenever its state changes.

    \b
    Examples:
      foreman jobs                          the newest twenty
      foreman jobs --state failed --since 2h
      foreman jobs --metadata order=17 --json | jq -r '.[].job_id'
      foreman jobs --watch                  live
    """  # noqa: D301 -- click needs its \b as it is
    asked = {"created_after" if name == "since" else name: value or None for name, value in filters.items()}
    with remote.client(url, key) as foreman:
        found = _list(foreman, limit, asked)
        if watch:
            # It is there. From now on a restart of it is no reason to stop looking.
            with remote.client(url, key, remote.OUTAGE_S) as patient:
                _watch(lambda: _list(patient, limit, asked), every, as_json=as_json)
        elif as_json:
            print_json([watching.plain(job) for job in found])
        else:
            print_table(_HEADS, [_row(job, _now()) for job in found])


def _list(foreman: Client, limit: int, asked: dict[str, Any]) -> list[Summary]:
    return list(islice(foreman.jobs(page_size=min(limit, 200), **asked), limit))


def _row(job: Summary, now: datetime) -> tuple[str, ...]:
    began = job.timestamps.get(State.LOADING)
    ended = job.timestamps.get(job.state) if job.ended else now
    took = between(began, ended) if began and ended else ""
    said = job.error.code if job.error else " ".join(f"{name}={value}" for name, value in job.metadata.items())
    age = between(job.created_at, max(now, job.created_at))
    return job.job_id, str(job.state), job.model, job.priority, str(job.attempt), age, took, said[:60]


def _watch(look: Callable[[], Sequence[Summary]], every_s: float, *, as_json: bool) -> None:
    """Show what ``look`` finds until Ctrl-C, or until nobody reads it: so is this meant to end."""
    try:
        if sys.stdout.isatty() and not as_json:
            _draw(look, every_s)
        else:
            _tell_changes(look, every_s, as_json=as_json)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # or what is left would be written at the end, to nobody
            sys.stdout.close()


def _tell_changes(look: Callable[[], Sequence[Summary]], every_s: float, *, as_json: bool) -> None:
    known: dict[str, State] = {}
    while True:
        found = look()
        changed = [job for job in reversed(found) if known.get(job.job_id) is not job.state]
        for job in changed:
            line = "  ".join(map(one_line, _row(job, _now()))).rstrip()
            print_json(watching.plain(job)) if as_json else click.echo(line)
        sys.stdout.flush()
        known = {job.job_id: job.state for job in found}
        if _nobody_reads(every_s):
            return


def _nobody_reads(wait_s: float) -> bool:
    """Wait, and say whether the other end of the pipe was closed: ``… --watch | grep -m 1 failed`` has seen enough."""
    poll = select.poll()
    # Nothing is asked for: that the reader has gone is told all the same.
    poll.register(sys.stdout, 0)
    return any(came & (select.POLLERR | select.POLLHUP) for _, came in poll.poll(wait_s * 1000))


def _draw(look: Callable[[], Sequence[Summary]], every_s: float) -> None:
    from rich.console import Console  # noqa: PLC0415 -- imported when used, as in main.py
    from rich.live import Live  # noqa: PLC0415 -- see above

    console = Console(markup=False, highlight=False, no_color=no_color())
    live = Live(_table(look()), console=console, auto_refresh=False, screen=True)
    try:  # not `with`: a Ctrl-C while it starts would leave the terminal with the screen of the table
        live.start(refresh=True)
        while True:
            time.sleep(every_s)
            live.update(_table(look()), refresh=True)
    finally:
        live.stop()


def _table(found: Sequence[Summary]) -> Table:
    from rich.table import Table  # noqa: PLC0415 -- see above
    from rich.text import Text  # noqa: PLC0415 -- see above

    now = _now()
    table = Table(*_HEADS, box=None, header_style="bold", caption=f"{now:%H:%M:%S} UTC, Ctrl-C ends")
    for job in found:
        style = _COLOURS.get(job.state, "")
        cells = [Text(one_line(cell), no_wrap=True, overflow="ellipsis") for cell in _row(job, now)]
        cells[1].stylize(style)
        table.add_row(*cells)
    return table


def _now() -> datetime:
    from foreman import clock  # noqa: PLC0415 -- see above

    return datetime.fromtimestamp(clock.now() / 1000, UTC)
