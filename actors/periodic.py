"""The actors that the clock process wakes."""

from __future__ import annotations

import dramatiq

from foreman import wiring
from foreman.queue import messages


@dramatiq.actor(queue_name=messages.SWEEP.queue, actor_name=messages.SWEEP.actor, max_retries=0)
def sweep() -> None:
    """Repeat what was not picked up. A sweep that fails is not retried: the next one is due in seconds."""
    wiring.services().sweeper.sweep()


@dramatiq.actor(queue_name=messages.PRUNE.queue, actor_name=messages.PRUNE.actor, max_retries=0)
def prune() -> None:
    """Remove what has expired. Not retried, for the same reason."""
    wiring.services().pruner.prune()


@dramatiq.actor(queue_name=messages.PROBE.queue, actor_name=messages.PROBE.actor, max_retries=0)
def probe() -> None:
    """Look at the upstreams. Not retried, for the same reason."""
    wiring.services().prober.probe()
