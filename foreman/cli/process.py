"""A process that handles messages, as the Procfile and ``foreman up`` run it: what it consumes, and how it stops."""

from __future__ import annotations

import importlib
import os
import signal
import threading

from foreman import clock, wiring
from foreman.cli.grace import RECORD_MARGIN_S
from foreman.queue import messages, ticks
from foreman.queue.worker import run_worker

#: Seconds for which a repeated signal counts as the same one: who starts us in a group sends it to the group, and the
#: supervisor sends it again.
_SAME_SIGNAL_S = 2.0

#: Process -> the queues it consumes.
QUEUES: dict[str, frozenset[str]] = {
    "jobs": frozenset({messages.RUN.queue}),
    "artifacts": frozenset({messages.PERSIST.queue}),
    "webhooks": frozenset({messages.DELIVER.queue}),
    "clock": frozenset({messages.SWEEP.queue, messages.PRUNE.queue, messages.PROBE.queue}),
}

#: Threads of the clock process: a sweep must go on while a prune waits for a slow artifact store.
CLOCK_THREADS = 4


def worker(name: str) -> None:
    """Consume the queues of process ``name`` until stopped; jobs under way have ``workers.shutdown_grace_s``.

    Raises:
        SettingInvalid: something it needs is not set.
    """
    # Like Dramatiq's own command: the actors are named, not imported, since nothing here depends on what they do.
    importlib.import_module("actors")
    wiring.migrate()
    wiring.services()
    _begin(name)
    if name == "jobs" and len(wiring.endpoints()) > 1:
        # Or the first jobs might go where their model is not, before the clock process has had anybody look.
        wiring.services().prober.probe()
    for beside in (wiring.services().timepiece, wiring.services().measurer):
        name_of = type(beside).__name__.lower()
        threading.Thread(target=beside.watch, args=(wiring.stopping,), name=name_of, daemon=True).start()
    settings = wiring.settings().workers
    threads = CLOCK_THREADS if name == "clock" else getattr(settings, f"{name}_threads")
    # A run is cut at the end of its grace, and what came of it is yet to be recorded.
    run_worker(wiring.broker(), QUEUES[name], threads, wiring.stopping, settings.shutdown_grace_s + RECORD_MARGIN_S)
    wiring.services().measurer.hand_over()
    wiring.tracer().close()


def run_clock() -> None:
    """Send the periodic messages, and handle them, until stopped: no other work can hold up a sweep.

    Raises:
        SettingInvalid: something it needs is not set.
    """
    args = (wiring.broker(), wiring.ticks(), wiring.stopping)
    threading.Thread(target=ticks.run, args=args, name="ticks", daemon=True).start()
    worker("clock")


def _begin(name: str) -> None:
    wiring.configure_logs(name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _asked)


_asked_at: float | None = None


def _asked(number: int, _frame: object) -> None:
    """Stop; when asked again later, end at once."""
    global _asked_at  # noqa: PLW0603 -- a signal handler has no other place, and a process has one of it
    now = clock.monotonic()
    if _asked_at is None:
        _asked_at = now
        wiring.stopping.set()
    elif now - _asked_at > _SAME_SIGNAL_S:
        os._exit(128 + number)
