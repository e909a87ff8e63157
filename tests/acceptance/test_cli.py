"""The commands about jobs that are there, and about receivers of webhooks, against the real foreman."""

from __future__ import annotations

import json
import signal
import threading

import pytest

from tests.acceptance.commands import Start, run, shown_on, slowly, submitted
from tests.acceptance.stack import PATIENCE_S, Stack, eventually
from tests.addresses import free_port
from tests.databases import SESSION
from tests.receiver import always

pytestmark = pytest.mark.parametrize("running", [SESSION.engine], indirect=True)


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
    stack.upstream.next(slowly(gate))
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
        shown += shown_on(ours)
        return job_id.encode() in shown

    eventually(is_drawn, "the table is drawn")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    shown += shown_on(ours)
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
    stack.upstream.next(slowly(gate))
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
