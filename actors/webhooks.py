"""The actor that delivers events."""

from __future__ import annotations

import dramatiq

from foreman import wiring
from foreman.queue import messages
from foreman.queue.retries import retry


@dramatiq.actor(queue_name=messages.DELIVER.queue, actor_name=messages.DELIVER.actor)
def deliver(job_id: str) -> None:
    """The job has events that may be due."""
    delay_s = wiring.services().deliverer.deliver(job_id)
    if delay_s is not None:
        raise retry(delay_s)
