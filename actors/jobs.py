"""The actor that runs jobs."""

from __future__ import annotations

import dramatiq

from foreman import wiring
from foreman.queue import messages
from foreman.queue.retries import retry


@dramatiq.actor(queue_name=messages.RUN.queue, actor_name=messages.RUN.actor)
def run(_job_id: str) -> None:
    """A permit to run one job, whichever is best now."""
    delay_s = wiring.services().runner.run()
    if delay_s is not None:
        raise retry(delay_s)
