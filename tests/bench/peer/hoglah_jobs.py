"""hoglah on SQLite with its stub adapter, which calls no model. Runs where hoglah is installed.

Each line is a number of jobs, a space, and the URL of a callback for each or nothing; it prints the seconds until the
last is done. ``one`` prints the milliseconds from the submission of a job to its adapter's call.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from hoglah import Hoglah  # type: ignore[import-not-found]  # of the peers' environment
from hoglah.adapters import StubAdapter  # type: ignore[import-not-found]

#: foreman's slots in the same row; hoglah's default is 1.
_CONCURRENCY = 8


class _Noting(StubAdapter):  # type: ignore[misc]  # untyped
    """The stub, which notes when it is called."""

    called_s = 0.0

    async def run(self, request: Any) -> Any:
        """As the stub does."""
        self.called_s = time.monotonic()
        return await super().run(request)


def main() -> None:
    """Do what the lines say."""
    adapter = _Noting()
    config = {
        "db_path": os.environ["BENCH_DATABASE"],
        "concurrency": _CONCURRENCY,
        "callback_allow_private_hosts": True,
    }
    with Hoglah(config=config, adapter=adapter) as hoglah:
        print("ready", flush=True)
        for line in sys.stdin:
            what, _, url = line.strip().partition(" ")
            print(json.dumps(_one(hoglah, adapter) if what == "one" else _many(hoglah, int(what), url)), flush=True)


def _one(hoglah: Any, adapter: _Noting) -> float:
    done = threading.Event()
    began = time.monotonic()
    hoglah.submit(prompt="Hi", model="m", callback=lambda _result: done.set())
    assert done.wait(60)
    return (adapter.called_s - began) * 1000


def _many(hoglah: Any, jobs: int, url: str) -> float:
    done = threading.Semaphore(0)
    began = time.monotonic()
    more = {"callback_url": url} if url else {}
    for _ in range(jobs):
        hoglah.submit(prompt="Hi", model="m", callback=lambda _result: done.release(), **more)
    for _ in range(jobs):
        assert done.acquire(timeout=60)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
