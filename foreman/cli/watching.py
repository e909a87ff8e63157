"""A job's text on standard output as it is generated, its states beside it on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from foreman.cli.exits import Exit
from foreman.cli.printing import print_json
from foreman.cli.words import utc
from foreman.domain.printable import one_line, printable

if TYPE_CHECKING:
    from foreman.client import Client, Event, Failure, Job


#: What a client calls an event -> what the API calls it.
_KINDS = {"StateReached": "state", "Text": "text", "Restarted": "restart", "Gap": "gap"}


class Watch(Protocol):
    """``wait`` or ``follow``."""

    def __call__(self, foreman: Client, job_id: str, timeout_s: float | None, *, as_json: bool) -> Exit:
        """Watch a job until it ends, or for so long."""


def wait(foreman: Client, job_id: str, timeout_s: float | None, *, as_json: bool) -> Exit:
    """Print the text of a job once it is done, or the whole job."""
    job = foreman.wait(job_id, deadline_s=timeout_s)
    if as_json:
        print_job(job)
    elif job.ended and job.error is None:
        print_text(foreman, job)
    return ending(job)


def follow(foreman: Client, job_id: str, timeout_s: float | None, *, as_json: bool) -> Exit:
    """Print the text of a job as it comes, or every event as a line of JSON."""
    events = foreman.follow(job_id, deadline_s=timeout_s)
    if as_json:
        for event in events:
            print_event(event)
    else:
        _show(events)
    return ending(foreman.get(job_id), told=not as_json)


def ending(job: Job, *, told: bool = False) -> Exit:
    """How the command that waited for the job ends, and why, unless that was ``told``."""
    if not job.ended:
        say(f"foreman: {job.job_id} is still {job.state}; {how_to_see(job.job_id)}")
        return Exit.TIME_UP
    if job.error is None:
        return Exit.OK
    if not told:
        say(f"foreman: {job.job_id} failed: {_why(job.error)}")
    return Exit.FAILED


def until_ctrl_c(watch: Watch, foreman: Client, job_id: str, timeout_s: float | None, *, as_json: bool) -> Exit:
    """``watch`` the job. Ctrl-C ends the watching and nothing else, and that is said."""
    try:
        return watch(foreman, job_id, timeout_s, as_json=as_json)
    except KeyboardInterrupt:
        say(f"\nThe job goes on; {how_to_see(job_id)}")
        say(f"To end it: foreman cancel {job_id}")
        return Exit.INTERRUPTED


def how_to_see(job_id: str) -> str:
    """What to type, with the foreman that was named on this command line."""
    url = click.get_current_context().params.get("url")
    return f"see it with: foreman show --follow {job_id}" + (f" --url {url}" if url else "")


def print_text(foreman: Client, job: Job) -> None:
    """Print what the model said, whole; calls of tools as JSON, if that is all."""
    result = foreman.result(job.job_id)
    message = result.get("message") or {}
    text = message.get("content") or ""
    if not text and message.get("tool_calls"):
        print_json(message["tool_calls"])
        return
    _write(text if text.endswith("\n") else f"{text}\n")


def _write(text: str) -> None:
    """Write a model's text: as it is for a file or a program, where ``click.echo`` would change it, else harmless."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_job(job: Job) -> None:
    """Print the job as the API shows it."""
    print_json(plain(job))


def print_event(event: Event) -> None:
    """Print one event as a line of JSON, its kind as the API calls it in ``event``."""
    print_json({"event": _KINDS[type(event).__name__]} | plain(event))


def plain(value: Any) -> Any:  # noqa: ANN401 -- a client's answer, as JSON has it
    """A client's answer as JSON has it, times as the API writes them."""
    from msgspec import to_builtins  # noqa: PLC0415 -- imported when used, as in main.py

    return json.loads(json.dumps(to_builtins(value, builtin_types=(datetime,)), default=utc))


def say(line: str) -> None:
    """Tell a person, beside what is printed for a program."""
    click.echo(line, err=True)


def _show(events: Iterable[Event]) -> None:
    from foreman.client import Gap, Restarted, StateReached, Text  # noqa: PLC0415 -- see above

    line = _Line()
    for event in events:
        match event:
            case Text():
                line.write(event.content, event.thinking)
            case StateReached():
                line.end()
                _note(f"failed: {_why(event.error)}" if event.error else str(event.state))
            case Restarted():
                line.end()
                _note("once more from the beginning: the text until here is void")
            case Gap():
                line.end()
                _note("text is missing here")
    line.end()


class _Line:
    """Standard output, and whether its last line was ended."""

    def __init__(self) -> None:
        self._is_open = False

    def write(self, content: str, thinking: str) -> None:
        """Print more text; what the model thinks goes beside it."""
        if thinking:
            click.secho(printable(thinking), err=True, nl=False, dim=True)
        if content:
            _write(content)
            self._is_open = not content.endswith("\n")

    def end(self) -> None:
        """Begin a new line, unless there is nothing on this one."""
        if self._is_open:
            click.echo()
        self._is_open = False


def _note(text: str) -> None:
    click.secho(f"[{text}]", err=True, dim=True)


def _why(failure: Failure | None) -> str:
    return "" if failure is None else one_line(f"{failure.code}: {failure.message}")
