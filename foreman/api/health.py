"""``/healthz``, ``/readyz``: what supervisors and load balancers ask. Contract section 7."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import falcon

from foreman.api import shown
from foreman.api.momentary import answer
from foreman.api.readiness import CHECK_TIMEOUT_S, Readiness

#: Seconds ``/healthz`` waits for checks: long enough for healthy dependencies, short enough for any prober.
HEALTH_PATIENCE_S = 0.25


@dataclass(frozen=True, slots=True)
class HealthResource:
    """``GET /healthz``: 200 while the process lives, and ``degraded`` if something it depends on does not."""

    readiness: Readiness

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say that the process lives."""
        degraded = any(self.readiness.look(HEALTH_PATIENCE_S).values())
        told: shown.Health = {"status": "ok", "degraded": degraded}
        answer(resp, told)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class ReadyResource:
    """``GET /readyz``: 200 if every dependency answers, else 503; each by name.

    A submission needs the database only and is accepted without the others, so a load balancer should ask ``/healthz``.
    """

    readiness: Readiness

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Name each dependency and what is wrong with it."""
        found = self.readiness.look(CHECK_TIMEOUT_S)
        ready = not any(found.values())
        told: shown.Readiness = {
            "status": "ready" if ready else "unready",
            "checks": {name: {"status": "failed" if wrong else "ok", "detail": wrong} for name, wrong in found.items()},
        }
        answer(resp, told)
        resp.status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE

    on_head = on_get
