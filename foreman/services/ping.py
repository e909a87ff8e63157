"""Tries a webhook URL now, with an event that is nobody's: what a receiver's author wants to know before any job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain.event import event_headers, ping_body, ping_id

if TYPE_CHECKING:
    from foreman.domain.delivery import Attempt
    from foreman.net.webhooks import WebhookSender

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pinger:
    """What ``POST /webhooks/ping`` does."""

    sender: WebhookSender
    secrets: tuple[bytes, ...]
    user_agent: str

    def ping(self, url: str) -> Attempt:
        """Send one event, signed as all are; takes as long as a try, ``webhook.timeout_s`` at most."""
        now = clock.now()
        name = ping_id(clock.new_id())
        body = ping_body(name, now)
        headers = event_headers(
            name, body, secrets=self.secrets, now=now, attempt=1, sequence=1, user_agent=self.user_agent
        )
        attempt = self.sender.send(url, headers, body)
        # Without the URL, which may hold a token.
        log.info("webhook pinged", status=attempt.status, error=attempt.error, duration_ms=attempt.duration_ms)
        return attempt
