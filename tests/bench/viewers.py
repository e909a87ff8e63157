"""What people who look at the page cost those who submit: ``python -m tests.bench.viewers [viewers] [jobs]``.

Latencies of ``POST /jobs`` on the Procfile's processes with ten thousand jobs queued, by turns without anybody who
looks and with fifty browsers on the page of the queue, in one run: whatever else the machine does, both see it.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from typing import Any

from foreman.api.ui.pages import POLL_S
from tests.acceptance.stack import Stack
from tests.upstream_faults import hang

#: Submissions in one turn, and the pause between two: well below what one web process can take.
SUBMISSIONS, PAUSE_S = 100, 0.02

TURNS = 8

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def look(port: int, here: Semaphore, until: Event, looks: Any, number: int) -> None:
    """One browser: the page once, and its piece every two seconds, with what it has of it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    until.wait(POLL_S * number / 50)  # not all at one moment
    path, took_s = _piece(_get(connection, "/ui")), []
    here.release()
    while not until.wait(POLL_S):
        begun = time.monotonic()
        body = _get(connection, path)
        took_s.append(time.monotonic() - begun)
        path = _piece(body) or path
    looks.extend(took_s)


def _get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status in {200, 204}, answer.status
    return body


def _piece(html: str) -> str:
    found = re.search(r'hx-get="([^"]+)"', html)
    return "" if found is None else found[1].replace("&amp;", "&")


def look_all(port: int, viewers: int, here: Semaphore, until: Event, looks: Any) -> None:
    """All browsers, in a process of their own, which is to take nothing from foreman: theirs are other machines."""
    os.nice(10)
    threads = [threading.Thread(target=look, args=(port, here, until, looks, number)) for number in range(viewers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def viewers_of(stack: Stack, viewers: int, looks: Any) -> Iterator[None]:
    """So many browsers on the page until the end of the block."""
    context = multiprocessing.get_context("spawn")
    here, until = context.Semaphore(0), context.Event()
    process = context.Process(target=look_all, args=(stack.port, viewers, here, until, looks))
    process.start()
    for _ in range(viewers):
        assert here.acquire(timeout=60), "a browser does not come"
    try:
        yield
    finally:
        until.set()
        process.join()


def submissions(stack: Stack) -> list[float]:
    """Milliseconds that each took."""
    took_ms = []
    for _ in range(SUBMISSIONS):
        begun = time.monotonic()
        answer = stack.ask("POST", "/jobs", BODY)
        took_ms.append((time.monotonic() - begun) * 1000)
        assert answer.status == 202, answer
        time.sleep(PAUSE_S)
    return took_ms


def fill(stack: Stack, jobs: int) -> None:
    """Submit so many."""
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: stack.ask("POST", "/jobs", BODY), range(jobs)):
            assert answer.status == 202, answer


def show(name: str, turns: list[list[float]]) -> float:
    """One line of the table: of each percentile the median turn, since others use the machine; returns the 95th."""
    by_turn = [statistics.quantiles(each, n=100, method="inclusive") for each in turns]
    p50, p95, p99 = (statistics.median(each[at] for each in by_turn) for at in (49, 94, 98))
    print(f"{name:<44}{p50:>9.2f}{p95:>9.2f}{p99:>9.2f}{sum(map(len, turns)):>7}")
    return p95


def main() -> None:
    """Measure by turns, and print both."""
    viewers = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    alone: list[list[float]] = []
    watched: list[list[float]] = []
    with tempfile.TemporaryDirectory() as place, multiprocessing.Manager() as manager:
        looks = manager.list()
        with Stack(Path(place) / "stack", {"FOREMAN_JOBS_MAX_QUEUE": str(10 * jobs)}) as stack:
            stack.upstream.default = hang
            fill(stack, jobs)
            for _ in range(TURNS):
                alone.append(submissions(stack))
                with viewers_of(stack, viewers, looks):
                    watched.append(submissions(stack))
        print(f"{f'{jobs} jobs queued; milliseconds':<44}{'p50':>9}{'p95':>9}{'p99':>9}{'n':>7}")
        without = show("POST /jobs, nobody looks", alone)
        with_them = show(f"POST /jobs, {viewers} browsers look", watched)
        show("  a browser's look", [[each * 1000 for each in looks]])
    print(f"p95 with them is {with_them / without:.2f} of that without, by the median turn of each")


if __name__ == "__main__":
    main()
