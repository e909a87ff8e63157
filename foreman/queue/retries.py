"""How a message is tried again: when an actor asks for it, when the actor fails, and when Redis is away just then."""

from __future__ import annotations

import logging
import threading

from dramatiq import Broker, MessageProxy
from dramatiq.errors import BrokerConnectionError, Retry
from dramatiq.middleware import Middleware, Retries

_logger = logging.getLogger(__name__)

#: Waits, in seconds, between tries to enqueue a retry while Redis is away: 8.55 s in all, which a restart of Redis fits
#: into, and less than ``workers.shutdown_grace_s``. After the last the retry is dropped, and the sweep sends it again.
_ENQUEUE_WAITS_S = (0.05, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0)

#: Tries of a message whose actor fails with an error that nobody expected; with the backoff below, some 4 minutes. Then
#: the message goes to the dead letters, and the sweep sends a fresh one if there is still something to do.
_MAX_FAULTS = 8

#: First and longest wait, in milliseconds, after such an error: the pace of the contract's attempts, 1 s to a minute.
_MIN_BACKOFF_MS, _MAX_BACKOFF_MS = 1_000, 60_000


def retry(delay_s: float) -> Retry:
    """What an actor raises to be called again with the same arguments, ``delay_s`` seconds (up to 7 days) from now.

    It is neither logged nor counted: how often a job or an event may be tried is the database's business.
    """
    return Retry(delay=max(0, round(delay_s * 1000)))


class PersistentRetries(Retries):
    """Dramatiq's retries, less two habits: a failed enqueue loses the message, and asking for a retry uses one up."""

    def __init__(self, draining: threading.Event) -> None:
        super().__init__(max_retries=_MAX_FAULTS, min_backoff=_MIN_BACKOFF_MS, max_backoff=_MAX_BACKOFF_MS)
        self._draining = draining

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: object = None, exception: BaseException | None = None
    ) -> None:
        """Enqueue the retry, again and again for some seconds if Redis is away; see ``_ENQUEUE_WAITS_S``.

        The worker's thread waits meanwhile. It has nothing better to do: no message can be fetched either.
        """
        retries = 0 if isinstance(exception, Retry) else message.options.get("retries", 0)
        for wait_s in (*_ENQUEUE_WAITS_S, None):
            message.options["retries"] = retries  # Dramatiq counts it up even where the enqueue then fails
            try:
                super().after_process_message(  # type: ignore[no-untyped-call]  # Dramatiq's middleware is untyped
                    broker, message, result=result, exception=exception
                )
            except BrokerConnectionError as error:
                if wait_s is None or self._draining.wait(wait_s):
                    _logger.warning("Retry of %s was not enqueued, the sweep will send it: %s", message, error)
                    return
            else:
                return


class Draining(Middleware):
    """Tells the consumers that their worker is stopping: what they fetched from then on would only be put back."""

    def __init__(self, draining: threading.Event) -> None:
        self._draining = draining

    def before_worker_boot(self, _broker: Broker, _worker: object) -> None:
        """A worker starts."""
        self._draining.clear()

    def before_worker_shutdown(self, _broker: Broker, _worker: object) -> None:
        """A worker stops; its threads finish what they have."""
        self._draining.set()
