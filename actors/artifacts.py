"""The actor that stores completions."""

from __future__ import annotations

import dramatiq

from foreman import wiring
from foreman.queue import messages


@dramatiq.actor(queue_name=messages.PERSIST.queue, actor_name=messages.PERSIST.actor)
def persist(job_id: str) -> None:
    """The job's run has ended with a completion: store it and make the job done."""
    wiring.services().persister.persist(job_id)
