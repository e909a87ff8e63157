"""``GET /webhooks/origins``: the receivers that events wait for or that fail, and what foreman does about it."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from foreman import clock
from foreman.api import shown
from foreman.api.momentary import answer
from foreman.domain.moment import rfc3339_or_none
from foreman.store.origins import Origins, OriginStatus

#: Origins in one answer: those of note come first, and an operator does not read more.
MOST = 1000


@dataclass(frozen=True, slots=True)
class OriginsResource:
    """``GET`` only. It names every receiver of the installation, so it is for its operator."""

    origins: Origins

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """List them: circuits that are not closed first, then those for which the most events are pending."""
        told: shown.Origins = {"origins": [_shown(each) for each in self.origins.of_note(clock.now(), MOST)]}
        answer(resp, told)

    on_head = on_get


def _shown(status: OriginStatus) -> shown.Origin:
    return {
        "origin": status.origin,
        "circuit": status.circuit,
        "failures": status.failures,
        "in_flight": status.in_flight,
        "pending": status.pending,
        "next_probe_at": rfc3339_or_none(status.next_probe_at),
        "last_status": status.last_status,
        "last_error": status.last_error,
    }
