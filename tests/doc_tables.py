"""The tables in ``docs/`` that are made from the code: ``python -m tests.doc_tables`` writes them anew.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; ``test_docs.py`` fails where one is out of date.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

import click

from foreman.api import problems as api_problems
from foreman.cli.exits import Exit
from foreman.cli.main import main as main_command
from foreman.domain import fault
from foreman.domain.event import event_body, event_headers
from foreman.domain.fault import Fault
from foreman.domain.job import Artifact, Job, Limits, Priority, Webhook
from foreman.domain.lifecycle import EDGES, RETRYABLE, Cause, State
from foreman.domain.metric import METRICS
from foreman.domain.setting import plain
from foreman.settings import KEYS, Settings, conf_path
from tests.bench import figures

ROOT = Path(__file__).parent.parent
#: The places of tables, markers included.
PLACES = re.compile(r"(?P<head><!-- table: (?P<name>\w+) -->\n).*?(?P<tail><!-- end -->)", re.DOTALL)

#: Who makes each move, and when; ``test_docs.py`` holds the keys to ``EDGES``.
MOVES: dict[tuple[State, State], str] = {
    (State.QUEUED, State.LOADING): "the upstream accepted the run's connection; nothing has been sent yet",
    (State.LOADING, State.WORKING): "the upstream has the model in memory; the real call follows",
    (State.WORKING, State.DONE): "the completion is stored as the artifact `completion`",
    (State.QUEUED, State.FAILED): "an upstream that cannot be connected to has used up a `max_attempts` that the "
    "submitter named; `start_deadline_s` is over; it was cancelled; or workers died too often",
    (
        State.LOADING,
        State.FAILED,
    ): "loading failed for good or once too often; it was cancelled; or workers died too often",
    (
        State.WORKING,
        State.FAILED,
    ): "the call failed for good or once too often; it was cancelled; or workers died too often",
}

_FAULTS: tuple[tuple[str, Fault], ...] = (
    ("refuses the connection, or cannot be reached or resolved", fault.not_connected("refused")),
    ("answers `503`; of kind `openai` also `429`, `425` or `408`", fault.answered(503, "")),
    ("answers `404` and says that it is about the model", fault.answered(404, "model not found")),
    ("answers any other 4xx", fault.answered(400, "")),
    ("answers any other 5xx", fault.answered(500, "")),
    ("drops the connection before it answers", fault.dropped(streaming=False)),
    ("drops the connection in the middle of its answer", fault.dropped(streaming=True)),
    ('ends the answer without `"done": true`', fault.ended_early()),
    ('sends `{"error": …}` in the stream', fault.reported("")),
    ("sends what is not its protocol", fault.unreadable("")),
    ("generates more than 64 MiB", fault.too_large(0)),
    ("does not load the model within `load_timeout_s`", fault.load_timeout(0)),
    ("sends no byte for `stall_timeout_s`, or four times that before its first text", fault.stalled(0)),
    ("does not finish within `exec_timeout_s`", fault.exec_timeout(0)),
)


def states() -> str:
    """Every state, with what ``lifecycle.py`` says of it."""
    said = _comments("State")
    return _table(("state", "what is so"), ((f"`{state}`", said[state.name]) for state in State))


def edges() -> str:
    """Every edge, in the order of the states."""
    rows = sorted(EDGES, key=lambda edge: (edge[0].rank, edge[1].rank))
    return _table(
        ("from", "to", "when"), ((f"`{before}`", f"`{after}`", MOVES[before, after]) for before, after in rows)
    )


def causes() -> str:
    """Every cause, and whether ``error.retryable`` is true."""
    said = _comments("Cause")
    rows = ((f"`{cause}`", said[cause.name], _yes(cause in RETRYABLE)) for cause in Cause)
    return _table(("`error.code`", "why", "`retryable`"), rows)


def faults() -> str:
    """What the upstream can do to a run, and what follows."""
    rows = ((what, f"`{each.cause}`", _yes(each.retry), _yes(each.began)) for what, each in _FAULTS)
    return _table(("the upstream …", "code if it is the last attempt", "tried again", "uses up an attempt"), rows)


def tries() -> str:
    """The tries of one webhook event, and when each comes."""
    conf = Settings().webhook
    at_s, rows = 0.0, [("1", "", "at once", "at once", "yes")]
    for number, delay_s in enumerate(conf.retry_delays_s, 2):
        at_s += delay_s
        low_s, high_s = at_s * (1 - conf.retry_jitter), at_s * (1 + conf.retry_jitter)
        reached = _yes(number <= conf.nonterminal_retries + 1)
        rows.append((str(number), span(delay_s), span(at_s), f"{span(low_s)} to {span(high_s)}", reached))
    heads = ("try", "wait before it", "since the first try", "with jitter", "for an event that is not the last")
    return _table(heads, rows)


def settings() -> str:
    """Every setting, with its default and what ``conf/foreman.toml`` says of it."""
    rows = (
        (f"`{section}.{key}`", _default(section, key), _conf_comment(section, key))
        for section, keys in KEYS.items()
        for key in keys
    )
    return _table(("setting", "default", "meaning"), rows)


def event() -> str:
    """A ``done`` event as it is sent: its headers, and its body with line breaks added."""
    completion = (
        b'{"model":"smollm2:135m","done":true,"eval_count":3,"message":{"role":"assistant","content":"Hello!"}}'
    )
    job = Job(
        id="01M85VW3NCMASR2TMX7H7DCM6B",
        state=State.DONE,
        model="smollm2:135m",
        priority=Priority.NORMAL,
        metadata={"order": 17},
        limits=Limits(86_400, None, 600, 3600, 300, None),
        webhook=Webhook("https://hooks.example.com/foreman", None),
        attempt=1,
        created_at=1_795_493_334_700,
        reached=(
            (State.QUEUED, 1_795_493_334_700),
            (State.LOADING, 1_795_493_334_711),
            (State.WORKING, 1_795_493_334_719),
            (State.DONE, 1_795_493_334_847),
        ),
        expires_at=None,
        stats={"model": "smollm2:135m", "done": True, "eval_count": 3},
        failure=None,
        version=1,
    )
    digest = hashlib.sha256(completion).hexdigest()
    artifact = Artifact(job.id, "completion", "application/json", len(completion), digest, completion)
    body = event_body(job, (artifact,), public_url="https://foreman.example.com", inline_limit_b=262_144)
    headers = event_headers(
        f"{job.id}-{job.state}",
        body,
        secrets=(b"s3cret",),
        now=1_795_493_334_850,
        attempt=1,
        sequence=4,
        user_agent="foreman/0.1.0",
    )
    shown = "\n".join(f"{name}: {value}" for name, value in headers.items())
    return f"```http\n{shown}\n```\n\n```json\n{json.dumps(json.loads(body), indent=2)}\n```\n"


def problems() -> str:
    """Every kind of problem that the API answers, by status."""
    kinds = {each.name: each for each in (*vars(api_problems).values(), *api_problems.TABLE.values()) if _is_kind(each)}
    rows = sorted(kinds.values(), key=lambda each: (each.status, each.name))
    shown = ((str(int(kind.status)), f"`{kind.name}`", kind.title) for kind in rows)
    return _table(("status", "`urn:foreman:problem:…`", "title"), shown)


def metrics() -> str:
    """Every metric of ``/metrics``."""
    rows = (
        (f"`{each.name}`", str(each.kind), ", ".join(f"`{label}`" for label in each.labels), each.help)
        for each in METRICS
    )
    return _table(("metric", "kind", "labels", "what it says"), rows)


def exits() -> str:
    """Every exit status of the command line."""
    said = _comments("Exit", "foreman/cli/exits.py")
    return _table(("status", "meaning"), ((f"`{int(each)}`", said[each.name]) for each in Exit))


def commands() -> str:
    """What ``--help`` says of every command."""
    return "\n".join(f"### `{path}`\n\n```text\n{text}\n```\n" for path, text in helps(main_command, "foreman"))


def helps(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """The name and the help of a command and of all below it, as wide as a page."""
    width: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100}
    context = click.Context(command, parent, path.rpartition(" ")[2], **width, **command.context_settings)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from helps(found, f"{path} {name}", context)


def benchmarks() -> str:
    """What the last `make bench` measured."""
    return figures.markdown(figures.load(ROOT / "docs/benchmarks/figures.json"))


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (states, edges, causes, faults, tries, settings, metrics, event, problems, exits, commands, benchmarks)
}


def renewed(text: str) -> str:
    """``text`` of a document with every table in it as the code has it now."""
    return PLACES.sub(lambda place: place["head"] + TABLES[place["name"]]() + place["tail"], text)


def documents() -> list[Path]:
    """The README and every Markdown file of ``docs/``, the changelog left out: it speaks of the past."""
    found = (path for path in (ROOT / "docs").rglob("*.md") if "changelog" not in path.parts)
    return [ROOT / "README.md", *sorted(found)]


def span(seconds: float) -> str:
    """``8 h 36 min 31 s``; tenths below ten seconds."""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    parts = ((hour, "h"), (minute, "min"), (second, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def _is_kind(each: object) -> TypeGuard[api_problems.Kind]:
    return isinstance(each, api_problems.Kind)


def _yes(so: bool) -> str:  # noqa: FBT001  it is all there is to say
    return "yes" if so else "no"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _comments(name: str, file: str = "foreman/domain/lifecycle.py") -> dict[str, str]:
    """Member → its ``#:`` comment, of an enum."""
    source = (ROOT / file).read_text(encoding="utf-8")
    body = source.partition(f"class {name}(")[2].partition("\n\n\n")[0]
    found = re.findall(r"((?:^    #: .*\n)+)    ([A-Z_]+) = ", body, re.MULTILINE)
    return {member: _prose(comment, "#:") for comment, member in found}


def _conf_comment(section: str, key: str) -> str:
    """What stands above a key of ``conf/foreman.toml``, less the name of its variable."""
    text = conf_path("foreman.toml").read_text(encoding="utf-8")
    body = text.partition(f"[{section}]\n")[2]
    match = re.search(rf"((?:^#.*\n)+){key} = ", body, re.MULTILINE)
    assert match is not None, f"{section}.{key} has no comment"
    return _prose(match[1], "#").rpartition(" ")[0]


def _prose(comment: str, mark: str) -> str:
    lines = (line.strip().removeprefix(mark).strip() for line in comment.splitlines())
    return " ".join(lines).replace("``", "`")


def _default(section: str, key: str) -> str:
    text = plain(getattr(getattr(Settings(), section), key))
    return f"`{text}`" if text else "empty"


def main() -> None:
    """Write every table anew."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if renewed(text) != text:
            path.write_text(renewed(text), encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
