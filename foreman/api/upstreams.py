"""``GET /upstreams``: how each model server is, less its URL, which may hold a password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import falcon

from foreman import clock
from foreman.api import shown
from foreman.api.momentary import answer
from foreman.domain.job import Moment
from foreman.domain.moment import rfc3339, rfc3339_or_none
from foreman.domain.upstream import Standing
from foreman.store.upstreams import Upstreams


@dataclass(frozen=True, slots=True)
class UpstreamsResource:
    """The list of them."""

    upstreams: Upstreams
    #: What each speaks, by name.
    kinds: Mapping[str, str]

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Tell of each, in the order of the settings."""
        now = clock.now()
        told: shown.Upstreams = {"upstreams": [self._shown(each, now) for each in self.upstreams.standings()]}
        answer(resp, told)

    on_head = on_get

    def _shown(self, standing: Standing, now: Moment) -> shown.Upstream:
        problem = standing.problem(now)
        available = standing.survey.available
        return {
            "name": standing.name,
            "kind": self.kinds[standing.name],
            "status": standing.status(now),
            "slots": standing.slots.count,
            "slots_in_use": standing.used,
            "models": list(standing.slots.models),
            "models_available": None if available is None else list(available),
            "models_loaded": list(standing.survey.loaded),
            "failures": standing.failures,
            "held_until": rfc3339(standing.held_until) if standing.held_until > now else None,
            "checked_at": rfc3339_or_none(standing.checked_at),
            "error": None if problem is None else problem.as_json(),
        }
