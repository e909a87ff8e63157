"""``foreman submit``, against the real one: what it sends, how it waits, and what it prints where."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from foreman.cli.main import main
from tests.acceptance.commands import Start, environ_of, run, shown_on, slowly, submitted
from tests.acceptance.stack import PATIENCE_S, Stack, eventually
from tests.databases import SESSION
from tests.upstream import reply
from tests.upstream_faults import status

pytestmark = pytest.mark.parametrize("running", [SESSION.engine], indirect=True)

#: What a model may say to whoever reads it on a terminal.
HOSTILE = "\x1b[2J\x1b]0;title\x07red\x9b31m\r\n"


def test_submit_prints_the_id_alone_and_says_all_that_was_asked(stack: Stack) -> None:
    """So ``id=$(foreman submit …)`` works; options and labels arrive as what they are."""
    arguments = ("Hi", "-s", "Be brief.", "-o", "seed=7", "--metadata", "order=17", "--metadata", "for=me")
    job_id = submitted(stack, *arguments, "--priority", "batch", "--webhook", stack.receiver.url)
    job = stack.settled(job_id)
    assert (job["state"], job["priority"], job["metadata"]) == ("done", "batch", {"order": 17, "for": "me"})
    assert job["webhook"]["url"] == stack.receiver.url
    said = stack.upstream.chats[-1].body
    assert said["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert said["options"] == {"seed": 7}


def test_a_text_comes_from_a_pipe_a_file_or_both(stack: Stack, tmp_path: Path) -> None:
    """First what was typed, then the files; a whole request in JSON is added to."""
    report = tmp_path / "report.txt"
    report.write_text("Sales rose.\n")
    payload = tmp_path / "chat.json"
    payload.write_text(json.dumps({"model": "p", "messages": [{"role": "user", "content": "A"}], "think": True}))
    for arguments in (("-m", "m"), ("-m", "m", "Summarise.", "-f", str(report)), ("--payload", str(payload), "B")):
        assert run(stack, "submit", *arguments, "--wait", stdin="from a pipe\n").exit_code == 0
    piped, both, whole = (chat.body for chat in stack.upstream.chats[-3:])
    assert piped["messages"][0]["content"] == "from a pipe"
    assert both["messages"][0]["content"] == "Summarise.\n\nSales rose."
    assert [each["content"] for each in whole["messages"]] == ["A", "B"]
    assert (whole["model"], whole["think"]) == ("p", True)


def test_waiting_prints_the_answer_alone(stack: Stack) -> None:
    """The job's id goes beside it; a job that failed is status 1 and one line that says why."""
    done = run(stack, "submit", "-m", "m", "Hi", "--wait")
    assert (done.exit_code, done.stdout) == (0, "Hello, world!\n")
    stack.upstream.next(status(400, "no such thing"))
    failed = run(stack, "submit", "-m", "m", "Hi", "--wait")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "failed: upstream_rejected: " in failed.stderr.splitlines()[-1]


def test_following_prints_text_as_it_is_generated(stack: Stack, start: Start, gate: threading.Event) -> None:
    """The first word is there while the model still writes; states go to standard error."""
    stack.upstream.next(slowly(gate))
    process = start(stack, "submit", "-m", "m", "Hi", "--follow")
    assert process.stdout is not None
    assert process.stdout.read(5) == "Once "
    gate.set()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "upon a time.\n")
    assert err.splitlines()[1:] == ["[queued]", "[loading]", "[working]", "[done]"]


def test_ctrl_c_while_following_leaves_the_job_alone_and_says_so(
    stack: Stack, start: Start, gate: threading.Event
) -> None:
    """And how to see it again, which then shows all of it from the beginning."""
    stack.upstream.next(slowly(gate))
    process = start(stack, "submit", "-m", "m", "Hi", "--follow")
    assert process.stdout is not None
    assert process.stdout.read(5) == "Once "
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    job_id = err.split()[1]
    assert f"The job goes on; see it with: foreman show --follow {job_id}" in err
    assert f"foreman cancel {job_id}" in err
    assert "Traceback" not in err
    gate.set()
    again = run(stack, "show", "--follow", job_id)
    assert (again.exit_code, again.stdout) == (0, "Once upon a time.\n")


def test_a_time_that_is_up_is_no_failure_of_the_job(stack: Stack, gate: threading.Event) -> None:
    """Status 4, and the job goes on."""
    stack.upstream.next(slowly(gate))
    result = run(stack, "submit", "-m", "m", "Hi", "--wait", "--timeout", "0.3")
    assert (result.exit_code, result.stdout) == (4, "")
    job_id = result.stderr.split()[1]
    assert f"{job_id} is still " in result.stderr
    gate.set()
    assert run(stack, "show", "--wait", "--text", job_id).stdout == "Once upon a time.\n"


def test_events_are_lines_of_json_for_a_program(stack: Stack) -> None:
    """Named as the API names them."""
    result = run(stack, "submit", "-m", "m", "Hi", "--follow", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["state"] for each in events if each["event"] == "state"] == ["queued", "loading", "working", "done"]
    assert "".join(each["content"] for each in events if each["event"] == "text") == "Hello, world!"


def test_colours_are_for_terminals_that_want_them(stack: Stack) -> None:
    """NO_COLOR turns them off, and so does a terminal that has none."""
    arguments = ("submit", "-m", "m", "Hi", "--follow")
    shown = [
        CliRunner().invoke(main, arguments, env=environ_of(stack) | environ, color=True, prog_name="foreman").stderr
        for environ in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"})
    ]
    assert ["\x1b[" in each for each in shown] == [True, False, False]


def test_a_hostile_answer_does_nothing_to_a_terminal(stack: Stack, start: Start, terminal: tuple[int, int]) -> None:
    """On one no control character is left of it; in a file it is what the model said."""
    stack.upstream.next(reply("a", HOSTILE, "b"), reply("a", HOSTILE, "b"))
    ours, theirs = terminal
    process = start(stack, "submit", "-m", "m", "Hi", "--wait", stdout=theirs)
    assert process.wait(PATIENCE_S) == 0
    shown = shown_on(ours)
    assert shown == b"a[2J]0;titlered31m\r\nb\r\n"  # the terminal itself made \r\n of \n
    assert process.communicate()[1].startswith("job ")
    assert run(stack, "submit", "-m", "m", "Hi", "--wait").stdout_bytes.decode() == f"a{HOSTILE}b\n"


def test_the_only_model_need_not_be_named(stack: Stack) -> None:
    """With several, or none, that is said, and with which."""
    stack.upstream.models = {"only"}
    try:
        eventually(lambda: _knows_models(stack, ["only"]), "the probe has seen it")
        job = json.loads(run(stack, "submit", "Hi", "--wait", "--json").stdout)
        assert job["model"] == "only"
        stack.upstream.models = {"a", "b"}
        eventually(lambda: _knows_models(stack, ["a", "b"]), "the probe has seen both")
        several = run(stack, "submit", "Hi")
        assert several.exit_code == 2
        assert "--model NAME: there are a, b" in several.stderr
    finally:
        stack.upstream.models = None


def _knows_models(stack: Stack, names: list[str]) -> bool:
    [upstream] = stack.ask("GET", "/upstreams").json["upstreams"]
    return bool(upstream["models_available"] == names)
