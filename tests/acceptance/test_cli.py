"""The commands that speak to a foreman by its URL, against the real one; and those that need none."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from foreman.cli.main import main
from tests.acceptance.foreman_up import COMMAND, ROOT
from tests.acceptance.stack import PATIENCE_S, Stack, eventually
from tests.addresses import free_port
from tests.databases import SESSION
from tests.receiver import always
from tests.upstream import Behaviour, Exchange, reply, stats
from tests.upstream_faults import status

pytestmark = pytest.mark.parametrize("running", [SESSION.engine], indirect=True)

#: What a model may say to whoever reads it on a terminal.
HOSTILE = "\x1b[2J\x1b]0;title\x07red\x9b31m\r\n"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Set when a model that was told to wait may go on; at the latest when the test is over."""
    found = threading.Event()
    yield found
    found.set()


class Start(Protocol):
    """``foreman …`` as a process."""

    def __call__(self, stack: Stack, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it."""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, of which none outlives the test."""
    with ExitStack() as exits:

        def begin(stack: Stack, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
            # A suite that runs in the background is deaf to Ctrl-C, and its children would be.
            heard = signal.signal(signal.SIGINT, signal.default_int_handler)
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=_env(stack),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )
            signal.signal(signal.SIGINT, heard)
            exits.enter_context(process)
            exits.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Its two ends: ours, and that of who runs on it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    os.set_blocking(ours, False)
    yield ours, theirs
    for each in (ours, theirs):
        os.close(each)


def _shown(terminal: int) -> bytes:
    """All that has come to a terminal since the last look; one read of it is a page at most."""
    shown = b""
    with suppress(BlockingIOError):
        while piece := os.read(terminal, 65_536):
            shown += piece
    return shown


def _slowly(gate: threading.Event) -> Behaviour:
    """A first word, and the rest when the gate is open."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.line(exchange.part({"content": "Once "}))
        exchange.pause(PATIENCE_S, gate)
        exchange.line(exchange.part({"content": "upon a time."}))
        exchange.line(exchange.part({}, **stats(2)))
        exchange.end()

    return behave


def _env(stack: Stack) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(stack.directory),
        "PYTHONPATH": str(ROOT),
        "FOREMAN_URL": stack.url,
        "TERM": "xterm",
    }


def run(stack: Stack, *arguments: str, stdin: str | None = None, **environ: str) -> Result:
    """``foreman …`` in this process, as far as that goes: none of these commands leaves anything behind in it."""
    result = CliRunner().invoke(main, arguments, input=stdin, env=_env(stack) | environ, prog_name="foreman")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def submitted(stack: Stack, *arguments: str, stdin: str | None = None) -> str:
    """The id that ``foreman submit`` printed, alone."""
    result = run(stack, "submit", "-m", "m", *arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    [line] = result.stdout.splitlines()
    return line


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
    stack.upstream.next(_slowly(gate))
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
    stack.upstream.next(_slowly(gate))
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
    stack.upstream.next(_slowly(gate))
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
        CliRunner().invoke(main, arguments, env=_env(stack) | environ, color=True, prog_name="foreman").stderr
        for environ in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"})
    ]
    assert ["\x1b[" in each for each in shown] == [True, False, False]


def test_a_hostile_answer_does_nothing_to_a_terminal(stack: Stack, start: Start, terminal: tuple[int, int]) -> None:
    """On one no control character is left of it; in a file it is what the model said."""
    stack.upstream.next(reply("a", HOSTILE, "b"), reply("a", HOSTILE, "b"))
    ours, theirs = terminal
    process = start(stack, "submit", "-m", "m", "Hi", "--wait", stdout=theirs)
    assert process.wait(PATIENCE_S) == 0
    shown = _shown(ours)
    assert shown == b"a[2J]0;titlered31m\r\nb\r\n"  # the terminal itself made \r\n of \n
    assert process.communicate()[1].startswith("job ")
    assert run(stack, "submit", "-m", "m", "Hi", "--wait").stdout_bytes.decode() == f"a{HOSTILE}b\n"


def test_jobs_are_listed_by_what_they_are(stack: Stack) -> None:
    """As a table, newest first, and as JSON with the names of the API."""
    job_id = submitted(stack, "A", "--metadata", "batch=cli-list")
    newer = submitted(stack, "B", "--metadata", "batch=cli-list")
    stack.settled(newer)
    listed = json.loads(run(stack, "jobs", "--metadata", "batch=cli-list", "--json").stdout)
    assert [each["job_id"] for each in listed] == [newer, job_id]
    theirs = stack.ask("GET", "/jobs?metadata.batch=cli-list").json["jobs"]
    assert listed == theirs
    table = run(stack, "jobs", "--state", "done", "--since", "1h", "--limit", "1").stdout.splitlines()
    assert table[0].split()[:3] == ["ID", "STATE", "MODEL"]
    assert table[1].split()[:4] == [newer, "done", "m", "normal"]
    assert len(table) == 2


def test_watching_tells_every_change_until_ctrl_c(stack: Stack, start: Start, gate: threading.Event) -> None:
    """Where there is no terminal, a line each; Ctrl-C is how it is meant to end."""
    stack.upstream.next(_slowly(gate))
    job_id = submitted(stack, "Hi", "--metadata", "batch=cli-watch")
    stack.until(job_id, "working")
    process = start(stack, "jobs", "--watch", "--every", "0.2", "--metadata", "batch=cli-watch")
    assert process.stdout is not None
    assert process.stdout.readline().split()[:2] == [job_id, "working"]
    gate.set()
    assert process.stdout.readline().split()[:2] == [job_id, "done"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S) == ("", "")
    assert process.returncode == 0


def test_watching_ends_when_nobody_reads_it_any_more(stack: Stack, start: Start) -> None:
    """``foreman jobs --watch | grep -m 1 …`` has seen what it waited for, and nothing else happens."""
    run(stack, "submit", "-m", "m", "Hi", "--wait")
    process = start(stack, "jobs", "--watch", "--every", "0.2")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0


def test_watching_on_a_terminal_draws_a_table(stack: Stack, start: Start, terminal: tuple[int, int]) -> None:
    """It is there until Ctrl-C, which leaves the terminal as it was."""
    job_id = submitted(stack, "Hi")
    ours, theirs = terminal
    process = start(stack, "jobs", "--watch", "--limit", "1", stdout=theirs)
    shown = b""

    def is_drawn() -> bool:
        nonlocal shown
        shown += _shown(ours)
        return job_id.encode() in shown

    eventually(is_drawn, "the table is drawn")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    shown += _shown(ours)
    assert b"\x1b[?1049h" in shown, "the table has a screen of its own"
    assert b"\x1b[?1049l" in shown, "and gives the old one back"
    assert b"\x1b[?25h" in shown, "and the cursor"
    assert process.communicate()[1] == ""


def test_show_tells_all_of_a_job(stack: Stack) -> None:
    """For people, as JSON like the API's, the text alone, and every try to tell the receiver."""
    job_id = submitted(stack, "Hi", "--webhook", stack.receiver.url)
    theirs = stack.settled(job_id)
    shown = run(stack, "show", job_id)
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"job         {job_id}\nstate       done\n")
    assert shown.stdout.endswith("\n\nHello, world!\n")
    assert "done: delivered, tries 1, last answer 200" in shown.stdout
    assert json.loads(run(stack, "show", job_id, "--json").stdout) == theirs
    assert run(stack, "show", job_id, "--text").stdout == "Hello, world!\n"
    tries = run(stack, "show", job_id, "--deliveries").stdout.splitlines()
    assert [line.split()[0] for line in tries[1:]] == ["queued", "loading", "working", "done"]


def test_cancel_ends_a_job_and_tells_of_those_that_had_ended(stack: Stack, gate: threading.Event) -> None:
    """Each by itself; one that could not be ended makes the status 1."""
    stack.upstream.next(_slowly(gate))
    live = submitted(stack, "Hi")
    stack.until(live, "working")
    ended = run(stack, "cancel", live)
    assert (ended.exit_code, ended.stdout) == (0, f"{live} is cancelled\n")
    done = json.loads(run(stack, "submit", "-m", "m", "Hi", "--wait", "--json").stdout)["job_id"]
    both = run(stack, "cancel", done, "01M8659KJ8T3KFGQKC1ZY0JFZD", "--json")
    assert (both.exit_code, both.stdout) == (1, "[]\n")
    assert [line.split()[1] for line in both.stderr.splitlines()] == [f"{done}:", "01M8659KJ8T3KFGQKC1ZY0JFZD:"]


def test_redeliver_sends_what_is_dead_or_what_is_named(stack: Stack) -> None:
    """The receiver was away for good, and is back."""
    stack.receiver.answer = always(400)
    job_id = submitted(stack, "Hi", "--webhook", stack.receiver.url)
    stack.settled(job_id)
    stack.receiver.answer = always(204)
    sent = run(stack, "redeliver", job_id)
    assert sent.stdout.splitlines() == [f"{job_id}-{each} is sent again" for each in stack.job(job_id)["timestamps"]]
    job = stack.settled(job_id)
    assert {each["status"] for each in job["webhook"]["events"]} == {"delivered"}
    assert run(stack, "redeliver", job_id).exit_code == 1
    again = json.loads(run(stack, "redeliver", job_id, "done", "--json").stdout)
    assert [each["event_id"] for each in again] == [f"{job_id}-done"]


def test_redeliver_sends_what_died_of_all_jobs_since_a_moment(stack: Stack) -> None:
    """And of one receiver where it is named; said as a count, and as JSON."""
    stack.receiver.answer = always(400)
    before = stack.job(submitted(stack, "Hi"))["created_at"]
    jobs = [submitted(stack, "Hi", "--webhook", f"{stack.receiver.url}{number}") for number in range(2)]
    for job_id in jobs:
        stack.settled(job_id)
    stack.receiver.answer = always(204)
    elsewhere = run(stack, "redeliver", "--since", "1h", "--origin", "https://hooks.example.com")
    assert (elsewhere.exit_code, elsewhere.stdout) == (0, "0 events are sent again\n")
    assert run(stack, "redeliver", "--since", "2199-01-01T00:00Z").stdout == "0 events are sent again\n"
    sent = run(stack, "redeliver", "--since", before, "--origin", stack.receiver.url, "--json")
    assert json.loads(sent.stdout) == {"recovered": 8}
    for job_id in jobs:
        assert {each["status"] for each in stack.settled(job_id)["webhook"]["events"]} == {"delivered"}
    assert json.loads(run(stack, "redeliver", "--since", before, "--json").stdout) == {"recovered": 0}
    refused = run(stack, "redeliver", "--since", "1h", "--origin", "hooks.example.com")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "foreman: /origin: must be an origin such as https://hooks.example.com\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("01M8659KJ8T3KFGQKC1ZY0JFZD", "--since", "1h"),
        ("01M8659KJ8T3KFGQKC1ZY0JFZD", "--origin", "http://a"),
        ("--since", "yesterday"),
    ],
)
def test_redeliver_takes_a_job_or_a_time(stack: Stack, arguments: tuple[str, ...]) -> None:
    """Neither says what, both would contradict each other; an origin alone does neither."""
    result = run(stack, "redeliver", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_listen_checks_and_prints_what_foreman_sends(stack: Stack, start: Start) -> None:
    """Four events of one job, each signed; with the wrong secret none is believed."""
    port = free_port()
    listening = ("listen", "--bind", f"127.0.0.1:{port}", "--count", "4", "--json")
    process = start(stack, *listening, "--secret", "acceptance-secret")
    assert process.stderr is not None
    assert "signatures are checked" in process.stderr.readline()
    job_id = submitted(stack, "Hi", "--webhook", f"http://127.0.0.1:{port}/")
    out, _ = process.communicate(timeout=PATIENCE_S)
    came = [json.loads(line) for line in out.splitlines()]
    assert [(each["genuine"], each["event"]["id"]) for each in came] == [
        (True, f"{job_id}-{state}") for state in ("queued", "loading", "working", "done")
    ]
    assert process.returncode == 0
    forged = start(stack, *listening[:3], "--secret", "another")
    assert forged.stderr is not None
    forged.stderr.readline()
    submitted(stack, "Hi", "--webhook", f"http://127.0.0.1:{port}/")
    assert forged.stdout is not None
    assert "REFUSED: " in forged.stdout.readline()
    forged.send_signal(signal.SIGINT)
    forged.communicate(timeout=PATIENCE_S)
    assert forged.returncode == 0


def test_what_foreman_refuses_is_one_line_for_each_thing_wrong(stack: Stack, start: Start) -> None:
    """By the names that the API has for them, and the status says whether to try again."""
    refused = run(stack, "submit", "-m", "m", "Hi", "--webhook", "ftp://x")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("foreman: /state_webhook_url: ")
    unknown = run(stack, "show", "01M8659KJ8T3KFGQKC1ZY0JFZD")
    assert (unknown.exit_code, unknown.stderr) == (1, "foreman: No job has this id\n")
    nothing = run(stack, "submit", stdin="")
    assert nothing.exit_code == 2
    away = start(stack, "jobs", "--url", f"http://127.0.0.1:{free_port()}")
    _, err = away.communicate(timeout=PATIENCE_S)
    assert away.returncode == 3
    assert err.startswith("foreman: foreman cannot be reached: ")
    assert err.count("\n") == 1


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
