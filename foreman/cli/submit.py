"""``foreman submit``: a job out of what was typed, a file or what comes in by a pipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from foreman.cli import remote, watching
from foreman.cli.printing import as_json, print_json
from foreman.cli.words import pairs
from foreman.domain.job import Priority
from foreman.domain.printable import one_line

if TYPE_CHECKING:
    from foreman.client import Client

#: What stands for standard input in place of a file or a text.
_STDIN = "-"


class _Given(TypedDict):
    """The options."""

    model: str | None
    system: str | None
    payload: str | None
    options: dict[str, Any]
    metadata: dict[str, Any]
    priority: str | None
    webhook: str | None
    idempotency_key: str | None
    wait: bool
    follow: bool
    timeout: float | None
    as_json: bool
    url: str | None
    key: str | None


@click.command()
@click.argument("text", required=False)
@click.option("--file", "-f", "files", multiple=True, metavar="FILE", help="A file to add to the text; - is stdin.")
@click.option("--model", "-m", metavar="NAME", help="The model; may be left out where there is only one.")
@click.option("--system", "-s", metavar="TEXT", help="The system message.")
@click.option("--payload", metavar="FILE", help="A whole chat request in JSON, to which the rest is added; - is stdin.")
@click.option("--option", "-o", "options", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Model options.")
@click.option("--metadata", multiple=True, callback=pairs, metavar="NAME=VALUE", help="What the job is labelled with.")
@click.option("--priority", type=click.Choice([each.label for each in Priority]), help="normal by default.")
@click.option("--webhook", metavar="URL", help="Where to announce each state.")
@click.option("--idempotency-key", metavar="KEY", help="Submitting the same again with it is the same job.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the answer.")
@click.option("--follow", is_flag=True, help="Print the answer as it is generated.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait or follow; the job goes on."
)
@as_json
@remote.connected
@click.pass_context
def submit(ctx: click.Context, /, text: str | None, files: tuple[str, ...], **given: Unpack[_Given]) -> None:
    """Submit a job: TEXT, a file, or what comes in by a pipe. Its id is printed, alone.

    With several of them the text comes first, then the files. Values of --option and --metadata are JSON where they can
    be: 17 is a number. With --wait or --follow the answer alone is on standard output, and the status is 1 if the job
    failed.

    \b
    Examples:
      foreman submit "Why is the sky blue?" --follow
      foreman submit -m llama3.2 -f report.txt "Summarise this." --wait > summary.txt
      git diff | foreman submit -s "You review code." --follow
      id=$(foreman submit "Say hello." --webhook https://hooks.example.com/foreman)
      foreman submit "Roll a die." -o temperature=1.2 -o seed=7 --metadata order=17 --priority batch
      foreman submit --payload chat.json --wait --json | jq .result.eval_count
    """  # noqa: D301 -- click needs its \b as it is
    if given["wait"] and given["follow"]:
        raise click.UsageError("--wait and --follow exclude each other")
    chat = _chat(text, files, given)
    with remote.client(given["url"], given["key"]) as foreman:
        if not chat.get("model"):
            chat["model"] = _only_model(foreman)
        job = foreman.submit(chat, idempotency_key=given["idempotency_key"])
    if not (given["wait"] or given["follow"]):
        if given["as_json"]:
            print_json(watching.plain(job))
        else:
            # Alone, so that a script can take it.
            click.echo(job.job_id)
        return
    watching.say(f"job {job.job_id}")
    watch = watching.wait if given["wait"] else watching.follow
    with remote.client(given["url"], given["key"], remote.OUTAGE_S) as foreman:
        ctx.exit(watching.until_ctrl_c(watch, foreman, job.job_id, given["timeout"], as_json=given["as_json"]))


def _chat(text: str | None, files: tuple[str, ...], given: _Given) -> dict[str, Any]:
    """The body of the submission, perhaps without a model.

    Raises:
        click.UsageError: there is nothing to say, or what was named cannot be read.
    """
    chat = _payload(given["payload"])
    said = _said(text, files, given["payload"])
    messages = list(chat.get("messages") or [])
    if given["system"]:
        messages.insert(0, {"role": "system", "content": given["system"]})
    if said:
        messages.append({"role": "user", "content": said})
    if not said and not given["payload"]:
        raise click.UsageError("there is nothing to submit: give a TEXT, a --file, or something by a pipe")
    chat |= {"messages": messages}
    added = {"options": given["options"], "metadata": given["metadata"]}
    chat |= {name: (chat.get(name) or {}) | value for name, value in added.items() if value}
    named = {"model": given["model"], "priority": given["priority"], "state_webhook_url": given["webhook"]}
    return chat | {name: value for name, value in named.items() if value}


def _payload(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    try:
        found = json.loads(_read(name))
    except ValueError as error:
        raise click.UsageError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(f"{name} is not a JSON object")
    return found


def _said(text: str | None, files: tuple[str, ...], payload: str | None) -> str:
    """What the user's message says: the text, and the files after it; standard input if neither was given."""
    sources = (_read(_STDIN) if text == _STDIN else text or "", *map(_read, files))
    if text is None and not files and payload is None and not sys.stdin.isatty():
        sources = (_read(_STDIN),)
    return "\n\n".join(filter(None, (each.strip("\n") for each in sources)))


def _read(name: str) -> str:
    try:
        return sys.stdin.buffer.read().decode() if name == _STDIN else Path(name).read_text("utf-8")
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{name} is not text in UTF-8") from error


def _only_model(foreman: Client) -> str:
    """The one model that there is.

    Raises:
        click.UsageError: there are several, none, or it is not this caller's to know.
    """
    from foreman.client import KeyRefused  # noqa: PLC0415 -- imported when used, as in main.py

    try:
        upstreams = foreman.upstreams()
    except KeyRefused:
        raise click.UsageError("name the model: --model NAME") from None
    models = sorted({model for each in upstreams for model in each.models_available or ()})
    if len(models) != 1:
        there = f": there are {one_line(', '.join(models))}" if models else ""
        raise click.UsageError(f"name the model: --model NAME{there}")
    return models[0]
