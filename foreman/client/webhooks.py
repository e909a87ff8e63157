"""What an operator does about webhooks of all jobs; with API keys on, it takes an admin key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from foreman.client.answers import Origin, Ping, WebhookEvent
from foreman.client.pages import given, pages
from foreman.client.patience import Patience
from foreman.client.transport import Request, Transport, path_of, posted

T = TypeVar("T")


class _Origins(Struct, frozen=True):
    origins: tuple[Origin, ...] = ()


class _Recovery(Struct, frozen=True):
    recovered: int = 0


@dataclass(frozen=True, slots=True)
class Webhooks:
    """``Client.webhooks``. What its methods raise is what those of ``Client`` do."""

    transport: Transport
    deadline_s: float

    def ping(self, url: str) -> Ping:
        """Have foreman try ``url`` now. A try that fails is an answer; a URL that may not be called is ``Refused``."""
        return self._post("ping", {"url": url}, Ping)

    def recover(self, since: datetime, origin: str | None = None) -> int:
        """Send the dead events created at ``since`` or later again, all or those to one origin; how many they are."""
        body = {"since": since} | ({} if origin is None else {"origin": origin})
        return self._post("recover", body, _Recovery).recovered

    def events(
        self, *, status: str | None = None, job_id: str | None = None, page_size: int | None = None
    ) -> Iterator[WebhookEvent]:
        """Events of all jobs, those of the newest job first; ``status`` as in ``WebhookEvent``."""
        query = given({"status": status, "job_id": job_id, "limit": page_size})
        request = Request("GET", path_of("webhooks", "events"), query)
        return pages(self.transport, request, "events", tuple[WebhookEvent, ...], self.deadline_s)

    def origins(self) -> tuple[Origin, ...]:
        """The receivers that events wait for or that fail: circuits that are not closed first, 1000 at most."""
        request = Request("GET", path_of("webhooks", "origins"))
        return self.transport.fetch(request, Patience(self.deadline_s), _Origins).origins

    def _post(self, verb: str, body: dict[str, Any], kind: type[T]) -> T:
        return self.transport.fetch(posted(path_of("webhooks", verb), body), Patience(self.deadline_s), kind)
