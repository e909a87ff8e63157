from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.foreman_up import environment
from tests.acceptance.stack import PATIENCE_S, Stack, eventually
from tests.collector import Collector, Taken
from tests.receiver import fail_first
from tests.upstream import reply

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

#: The steps of a job that goes well, each delivery aside.
STEPS = ["submit", "run", "claim", "load", "work", "persist"]


#: Bytes: the usual completion stays in its row.
INLINE_LIMIT_B = 1000


@dataclass
class Traced:
    """A stack and where its spans go."""

    stack: Stack
    collector: Collector


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Every process sends its spans to one collector."""
    with Collector() as collector:
        env = {
            "FOREMAN_TRACES_ENDPOINT": collector.url,
            "FOREMAN_JOBS_MAX_ATTEMPTS": "2",
            "FOREMAN_ARTIFACTS_INLINE_LIMIT_B": str(INLINE_LIMIT_B),
        }
        with Stack(tmp_path_factory.mktemp("traces"), env) as stack:
            yield Traced(stack, collector)


def submit(stack: Stack, trace: str, flags: str = "01") -> str:
    """Submit a job within a trace of the client's; returns its id."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "state_webhook_url": stack.receiver.url}
    answer = stack.ask("POST", "/jobs", body, {"traceparent": f"00-{trace}-{CLIENT}-{flags}"})
    assert answer.status == 202
    return str(answer.json["job_id"])


def spans(traced: Traced, trace: str, count: int) -> list[Taken]:
    """The spans of a trace, once there are so many, and when no more can come."""
    eventually(lambda: len(traced.collector.of(trace)) >= count, f"{count} spans of {trace}")
    found = traced.collector.of(trace)
    assert len(found) == count, [each.name for each in found]
    return found


def test_a_job_is_one_trace_over_all_processes(traced: Traced) -> None:
    """From the client's span down to each delivery; the upstream and the receiver are told where they stand in it."""
    stack = traced.stack
    stack.receiver.answer = fail_first(1)
    job_id = submit(stack, TRACE)
    stack.settled(job_id)
    found = spans(traced, TRACE, len(STEPS) + 5)
    deliveries = [each for each in found if each.name == "deliver"]
    [sent, run, claim, load, work, persist] = (next(each for each in found if each.name == name) for name in STEPS)
    assert sent.parent == CLIENT
    assert {each.parent for each in (run, persist, *deliveries)} == {sent.id}
    assert {each.parent for each in (claim, load, work)} == {run.id}
    # What is known only afterwards has begun at a whole millisecond.
    assert sent.began - 1_000_000 <= run.began == claim.began <= claim.ended <= load.began
    assert load.ended <= work.began <= work.ended <= run.ended
    assert all(each.facts["job_id"] == job_id for each in (sent, run, persist, *deliveries))
    assert run.facts["outcome"] == "completion"
    tried = sorted((each.facts["state"], each.facts["attempt"], each.failed) for each in deliveries)
    assert tried == [
        ("done", 1, False),
        ("loading", 1, False),
        ("queued", 1, True),
        ("queued", 2, False),
        ("working", 1, False),
    ]
    assert len({each.pid for each in (sent, run, deliveries[0])}) == 3
    assert (persist.pid, persist.facts["elsewhere"]) == (run.pid, False)
    assert work.ended <= persist.ended <= run.ended
    asked = [each.headers.get("traceparent") for each in stack.upstream.to("/api/chat")]
    assert asked[-2:] == [load.traceparent, work.traceparent]
    told = [each.headers["traceparent"] for each in stack.receiver.requests]
    assert sorted(told) == sorted(each.traceparent for each in deliveries)


def test_a_completion_that_is_put_elsewhere_is_stored_by_a_process_of_its_own(traced: Traced) -> None:
    """The step has the same name and place as where the run itself ends the job, and says what it did."""
    stack = traced.stack
    stack.upstream.next(reply("Hi" * INLINE_LIMIT_B))
    trace = f"{2**64:032x}"
    stack.settled(submit(stack, trace))
    found = spans(traced, trace, len(STEPS) + 4)
    [sent, run, persist] = (next(each for each in found if each.name == name) for name in ("submit", "run", "persist"))
    assert persist.parent == run.parent == sent.id
    assert persist.pid != run.pid
    assert persist.facts["elsewhere"] is True


def test_a_trace_that_the_client_does_not_sample_is_passed_on_and_not_sent(traced: Traced) -> None:
    """Its flag goes along, so that nobody further down samples it either."""
    trace = TRACE[::-1]
    job_id = submit(traced.stack, trace, "00")
    traced.stack.settled(job_id)
    told = [each for each in traced.stack.receiver.requests if each.json["job_id"] == job_id]
    assert all(each.headers["traceparent"].startswith(f"00-{trace}-") for each in told)
    assert all(each.headers["traceparent"].endswith("-00") for each in told)
    later = f"{1:032x}"
    traced.stack.settled(submit(traced.stack, later))
    spans(traced, later, len(STEPS) + 4)
    assert traced.collector.of(trace) == []


def test_a_collector_that_hangs_slows_neither_jobs_nor_a_stop(traced: Traced) -> None:
    """Spans are dropped for its sake; what is stopped has ended by then as if nothing was traced."""
    stack, collector = traced.stack, traced.collector
    collector.hangs.set()
    collector.asked.clear()
    for number in range(5):
        stack.settled(submit(stack, f"{number + 2:032x}"))
    assert collector.asked.wait(PATIENCE_S)
    for name in ("web", "jobs", "artifacts", "webhooks"):
        began = time.monotonic()
        assert stack.stop(name) == 0
        # By itself the SDK would wait for 30 s.
        assert time.monotonic() - began < 20, name


def test_without_tracing_a_trace_is_passed_on_as_it_came(stack: Stack) -> None:
    """Whoever is called next is still part of it, of what is no job too; and a job without one mentions none."""
    traced, plain = submit(stack, TRACE), stack.submit()
    for job_id in (traced, plain):
        stack.settled(job_id)
    told = {
        job_id: {each.headers.get("traceparent") for each in stack.receiver.requests if each.json["job_id"] == job_id}
        for job_id in (traced, plain)
    }
    assert told == {traced: {f"00-{TRACE}-{CLIENT}-01"}, plain: {None}}
    asked = [each.headers.get("traceparent") for each in stack.upstream.to("/api/chat")]
    assert set(asked) >= {f"00-{TRACE}-{CLIENT}-01", None}
    given = {"traceparent": f"00-{TRACE}-{CLIENT}-00"}
    assert stack.ask("POST", "/api/generate", {"model": "m", "prompt": "Hi"}, given).status == 200
    assert stack.upstream.to("/api/generate")[-1].headers["traceparent"] == given["traceparent"]


def python(directory: Path, program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program with foreman's settings."""
    base = {
        "FOREMAN_DATA_DIR": str(directory / "data"),
        "FOREMAN_REDIS_URL": "redis://127.0.0.1:9/0",
        "FOREMAN_UPSTREAM_URL": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(str(directory), base | settings),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_without_tracing_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """It costs neither memory nor a start, and its packages need not be there.

    Where they are, redis-py imports some of them for itself.
    """
    build = "import sys; from foreman import wiring; wiring.services()"
    ended = python(tmp_path, f"{build}; print({{'foreman.otel', 'opentelemetry.exporter'}} & sys.modules.keys())")
    assert ended.stdout == "set()\n", ended.stderr
    ended = python(tmp_path, f"import sys; sys.modules['opentelemetry'] = None; {build}; print('built')")
    assert ended.stdout == "built\n", ended.stderr


def test_tracing_without_its_packages_stops_the_start_with_one_line(tmp_path: Path) -> None:
    """It says what to install."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None; sys.argv = ['foreman', 'process', 'jobs'];"
        "from foreman.cli.main import main; main()"
    )
    ended = python(tmp_path, program, FOREMAN_TRACES_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert ended.stderr == "foreman: traces.endpoint: needs OpenTelemetry: pip install 'foreman[traces]'\n"
