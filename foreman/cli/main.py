"""The command line: what can be asked for."""

from __future__ import annotations

import click

from foreman import __version__
from foreman.cli.act import cancel, redeliver
from foreman.cli.completion import completion
from foreman.cli.config import config
from foreman.cli.doctor import doctor
from foreman.cli.edge import Foreman
from foreman.cli.jobs import jobs
from foreman.cli.keys import keys
from foreman.cli.listen import listen
from foreman.cli.migrate import migrate
from foreman.cli.prune import prune
from foreman.cli.show import show
from foreman.cli.submit import submit


@click.group(cls=Foreman, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foreman")
def main() -> None:
    """A durable front door for a local language model server.

    \b
    Examples:
      foreman demo                          a minute's tour, with nothing left behind
      foreman up                            everything on this machine
      foreman submit "Hello." --follow      a job, and its answer as it is generated
      foreman jobs --watch                  what there is, live
      foreman doctor                        what is wrong, and what to do about it

    Every setting is in conf/foreman.toml; FOREMAN_<SECTION>_<KEY> in the environment overrides it. submit, jobs, show,
    cancel and redeliver speak to the foreman at FOREMAN_URL, or to the one of this machine.
    """  # noqa: D301 -- click needs its \b as it is


@main.command()
@click.option("--data-dir", metavar="DIR", help="Where the state is kept (data.dir).")
@click.option("--bind", metavar="HOST:PORT", help="Address to listen on (web.bind).")
@click.option("--postgres", is_flag=True, help="Keep the jobs in a PostgreSQL of its own, from the first start on.")
def up(data_dir: str | None, bind: str | None, *, postgres: bool) -> None:
    """Run everything on this machine, until Ctrl-C.

    \b
    Examples:
      foreman up                            with the bundled model
      foreman up --bind 0.0.0.0:8420        for the whole network, with API keys
      foreman up --postgres                 with a PostgreSQL of its own in place of SQLite
      FOREMAN_UPSTREAM_URL=http://127.0.0.1:11434 foreman up
                                            with your Ollama as the model server
    """  # noqa: D301 -- click needs its \b as it is
    # Imported when used: `foreman --version` need not wait for what the others need.
    from foreman.cli import up as command  # noqa: PLC0415

    raise SystemExit(command.up(data_dir, bind, with_postgres=postgres))


@main.command()
@click.argument("name", type=click.Choice(["web", "jobs", "artifacts", "webhooks", "clock"]))
@click.option("--fd", type=int, help="web: descriptor of an inherited socket that listens.")
@click.option("--grace-s", type=float, help="web: seconds for requests under way at a stop.")
def process(name: str, fd: int | None, grace_s: float | None) -> None:
    """Run one process, as the Procfile does.

    Redis, the database and the upstreams are those of the settings.

    \b
    Examples:
      foreman process web                   the API
      foreman process jobs                  what runs jobs; artifacts, webhooks and clock are the others
    """  # noqa: D301 -- click needs its \b as it is
    if name == "web":
        from foreman.cli import web  # noqa: PLC0415 -- see above

        web.web(fd, grace_s)

    from foreman.cli import process as command  # noqa: PLC0415 -- see above

    if name == "clock":
        command.run_clock()
    else:
        command.worker(name)


@main.command()
def demo() -> None:
    """Run it all once, on a real model, and show every webhook.

    \b
    Examples:
      foreman demo                          nothing of what is configured here is used, or touched
    """  # noqa: D301 -- click needs its \b as it is
    from foreman.cli import demo as command  # noqa: PLC0415 -- see above

    command.demo()


for each in (submit, jobs, show, cancel, redeliver, listen, doctor, config, keys, migrate, prune, completion):
    main.add_command(each)
