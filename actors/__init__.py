"""The actors: a message in, a service called. Importing this package sets the broker that Dramatiq uses.

Without that, Dramatiq would make a RabbitMQ broker of its own at the first ``@dramatiq.actor``.
"""

import dramatiq

from foreman import wiring

dramatiq.set_broker(wiring.broker())

from actors import artifacts, jobs, periodic, webhooks  # noqa: E402  (they must find the broker set)

#: What ``dramatiq actors`` looks for.
broker = wiring.broker()

__all__ = ["artifacts", "broker", "jobs", "periodic", "webhooks"]
