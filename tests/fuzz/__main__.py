"""``make fuzz``: the whole of foreman, and wrong requests by the million; ends with 1 if one was answered badly.

Most go straight into the application, in processes that share the database, Redis and workers of the real one; some go
to gunicorn as bytes; and some are schemathesis's, made from what foreman says of itself, to another foreman with keys.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.acceptance.stack import ROOT, Stack
from tests.fuzz import description
from tests.fuzz.driver import ENOUGH
from tests.fuzz.grammar import Route, World, any_request
from tests.fuzz.oracle import complaints
from tests.fuzz.wire import as_bytes, send

SECRET = "fuzz-canary-7d1f"
#: Ended jobs leave soon, so that the database stays small; the queue fills up now and then, and that is told honestly.
ENV = {
    "FOREMAN_JOBS_TTL_S": "20",
    "FOREMAN_JOBS_MAX_QUEUE": "30",
    "FOREMAN_PRUNE_INTERVAL_S": "5",
    "FOREMAN_WEB_THREADS": "8",
    "FOREMAN_WEBHOOK_SECRET": SECRET,
    "FOREMAN_WEBHOOK_TIMEOUT_S": "0.5",
    "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "0.1",
    "FOREMAN_UPSTREAM_SLOTS": "4",
    "FOREMAN_UPSTREAM_CONNECT_TIMEOUT_S": "60",
    "FOREMAN_JOBS_LEASE_S": "30",
    "FOREMAN_LOG_LEVEL": "warning",
    "FOREMAN_LOG_FORMAT": "json",
}
#: One in so many goes over a socket.
WIRE_SHARE = 50
#: What the log says of a fault of foreman's.
_FAULT = re.compile(r"Traceback \(most recent call last\)|\"level\": ?\"(error|critical)\"")


def _start(stack: Stack, seed: int, first: int, count: int) -> subprocess.Popen[str]:
    argv = [
        sys.executable,
        "-m",
        "tests.fuzz.driver",
        *map(str, (seed, first, count)),
        stack.receiver.url,
        *_secrets(stack),
    ]
    # Nobody may wait in a driver: it has one thread.
    env = stack.environ() | {"FOREMAN_WEB_THREADS": "1", "FOREMAN_WEB_FOLLOWERS": "16"}
    with (stack.directory / "driver.log").open("ab") as log:
        return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True)


def _secrets(stack: Stack) -> list[str]:
    return [SECRET, str(stack.directory), f":{stack.valkey.port}"]


def _over_the_wire(stack: Stack, seed: int, count: int) -> dict[str, Any]:
    """Like a driver's summary, for ``count`` requests to gunicorn."""
    routes = tuple(
        Route(path, ("GET", "POST", "DELETE")) for path in ("/jobs", "/jobs/{job_id}", "/api/chat", "/healthz")
    )
    statuses: collections.Counter[str] = collections.Counter()
    findings: list[str] = []
    secrets = tuple(each.encode() for each in _secrets(stack))
    for number in range(count):
        dice = random.Random(f"{seed}/wire/{number}")
        request = any_request(dice, routes, World(stack.receiver.url))
        data = as_bytes(dice, request)
        try:
            answer = send(stack.port, data)
        except TimeoutError:
            findings.append(f"{seed}/wire/{number}: no answer: {data[:500]!r}")
            continue
        statuses[str(answer.status) if answer else "none"] += 1
        if answer:
            target = (data.split(b" ", 2)[1:2] or [b""])[0].partition(b"?")[0]
            path = unquote_to_bytes(target).decode("utf-8", "replace")
            method = data.partition(b" ")[0].decode("latin-1")
            found = complaints(method, path, answer, secrets, read=False, limited=request.limited)
            findings += [f"{seed}/wire/{number}: {each}: {data[:500]!r}" for each in found]
        if len(findings) >= ENOUGH:
            break
    return {"sent": sum(statuses.values()), "statuses": dict(statuses), "reached": [], "findings": findings}


def _summary(stack: Stack, driver: subprocess.Popen[str]) -> dict[str, Any]:
    """What a driver says at its end; whenever it says how far it is, the peers forget what they got."""
    assert driver.stdout is not None
    for line in driver.stdout:
        stack.upstream.calls.clear()
        stack.receiver.forget()
        if line.startswith("{"):
            return dict(json.loads(line))
        _say(line.rstrip())
    return {"findings": ["a driver ended before its time"]}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _described(directory: Path, seed: int, count: int) -> dict[str, Any]:
    """Like a driver's summary, for ``count`` requests or some more that schemathesis makes.

    The edges of everything are the same for every seed, so they are asked for once, and where there is room for them.
    """
    sent = 0
    findings: list[str] = []
    with Stack(directory, ENV | description.ENV) as stack:
        key = description.admin_key(stack)
        options: tuple[str, ...] = () if count >= description.EDGES else description.MADE_UP
        for number in itertools.count(seed):
            if sent >= count or findings:
                break
            examples = min(100, 1 + (count - sent) // description.PER_EXAMPLE)
            examined = description.examine(stack, key, seed=number, examples=examples, options=options)
            sent += examined.sent
            findings += [f"schemathesis, seed {number}: {each}" for each in examined.findings]
            _say(f"schemathesis: {sent} of {count}")
            options = description.MADE_UP
            stack.upstream.calls.clear()
            stack.receiver.forget()
        findings += _faults(stack, stack.commands)
    return {"sent": sent, "reached": [], "findings": findings}


def _faults(stack: Stack, names: Iterable[str]) -> Iterator[str]:
    """What the processes logged of faults, and which of them did not live to see the end."""
    for name in names:
        log = stack.log(name)
        if found := _FAULT.search(log):
            yield f"{name} logged: {log[max(0, found.start() - 1500) : found.end() + 1500]}"
    for name, process in stack.processes.items():
        if process.poll() is not None:
            yield f"{name} ended with {process.returncode}"
    if not stack.answers():
        yield "the API no longer answers"


def run(requests: int, processes: int, seed: int, share: float) -> int:
    """Send them all, a ``share`` of them schemathesis's, print what came of it, and return the exit status."""
    began = time.monotonic()
    wired, described = requests // WIRE_SHARE, round(requests * share)
    each, rest = divmod(requests - wired - described, processes)
    with tempfile.TemporaryDirectory(prefix="foreman-fuzz-") as directory, Stack(Path(directory), ENV) as stack:
        counts = [each + (rest if index == 0 else 0) for index in range(processes)]
        drivers = [_start(stack, seed, index * (each + rest), count) for index, count in enumerate(counts)]
        try:
            told = [_over_the_wire(stack, seed, wired)]
            _say(f"over sockets: {wired}")
            told += [_summary(stack, driver) for driver in drivers]
        finally:
            for driver in drivers:
                driver.kill()
        findings = [finding for one in told for finding in one["findings"]] + list(
            _faults(stack, [*stack.commands, "driver"])
        )
    if described:
        with tempfile.TemporaryDirectory(prefix="foreman-described-") as directory:
            told.append(_described(Path(directory), seed, described))
        findings += told[-1]["findings"]
    statuses: collections.Counter[str] = collections.Counter()
    for one in told:
        statuses.update(one.get("statuses", {}))
    sent = sum(one.get("sent", 0) for one in told)
    made = f"{told[0]['sent']} of them bytes over sockets, {told[-1]['sent'] if described else 0} schemathesis's"
    print(f"{sent} requests in {time.monotonic() - began:.0f} s, seed {seed}: {made}")
    print("answers:", ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    print("reached:", ", ".join(sorted({path or "/" for one in told for path in one.get("reached", [])})))
    for finding in findings[:ENOUGH]:
        print("FOUND", finding)
    return 1 if findings or sent < requests else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.partition(";")[0] if __doc__ else ""
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--described", type=float, default=0.01, help="the share that schemathesis makes, from 0 to 1")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so stop what was started
    sys.exit(run(given.requests, given.processes, given.seed, given.described))
