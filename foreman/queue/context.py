"""What the lines of the log hold while a message is handled, Dramatiq's own among them."""

from __future__ import annotations

from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware

from foreman import logs


class LogContext(Middleware):
    """Each message begins anew: the job that it is about, until the actor finds that it is another."""

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        """The message's first argument, where it has one, is a job."""
        logs.begin(job_id=next(iter(message.args), None))
