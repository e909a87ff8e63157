"""Tries URLs one after the other, then all at once, in a process of its own, and tells what that cost it.

``python -m tests.trier TIMEOUT_S LATEST_S URL…`` writes a JSON object: ``tries``, each with ``url``, ``outcome`` and
``took_s``, and what all of it left: ``grown_b``, by which the peak of its memory grew, ``threads`` and ``files``.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from foreman.domain.address import Policy
from foreman.net.webhooks import WebhookSender
from tests.receiver import Receiver, client_tls

#: How often a URL is tried whose try ended too late: a receiver that can hold a sender can do it again, and a machine
#: that was busy at the wrong moment hardly is so each time.
_TIMES = 4


def peak_b() -> int:
    """The most memory that this process ever had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, in bytes
    # Linux's ``ru_maxrss`` begins with what the process was that started this one, and hides a growth up to there.
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def open_files() -> int:
    """How many descriptors this process has open, the one that looks included."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def attempt(sender: WebhookSender, url: str) -> dict[str, Any]:
    """One try, timed."""
    began = time.monotonic()
    came = sender.send(url, {"Content-Type": "application/json"}, b"{}")
    return {"url": url, "outcome": came.error or came.status, "took_s": time.monotonic() - began}


def quickest(sender: WebhookSender, url: str, latest_s: float) -> dict[str, Any]:
    """The first of some tries that took no longer than ``latest_s``, or the last."""
    came = attempt(sender, url)
    for _ in range(_TIMES - 1):
        if came["took_s"] <= latest_s:
            break
        came = attempt(sender, url)
    return came


def main(timeout_s: float, latest_s: float, urls: list[str]) -> dict[str, Any]:
    """All of it, after what any process pays once: modules, certificates, the first thread."""
    policy = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))
    sender = WebhookSender(policy, timeout_s, tls=client_tls())
    for tls in (False, True):
        with Receiver(tls=tls) as receiver:
            attempt(sender, receiver.url)
    before_b, threads, files = peak_b(), threading.active_count(), open_files()
    tries = [quickest(sender, url, latest_s) for url in urls]
    with ThreadPoolExecutor(len(urls)) as pool:
        list(pool.map(lambda url: attempt(sender, url), urls))
    return {
        "tries": tries,
        "grown_b": peak_b() - before_b,
        "threads": threading.active_count() - threads,
        "files": open_files() - files,
    }


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])))
