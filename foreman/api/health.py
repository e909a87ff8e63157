"""``/healthz``, ``/readyz``, ``/metrics``: what supervisors, load balancers and Prometheus ask. Contract section 7."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import falcon
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from foreman import __version__, clock
from foreman.api.momentary import answer
from foreman.api.readiness import CHECK_TIMEOUT_S, Readiness
from foreman.store.events import Events
from foreman.store.jobs import Jobs
from foreman.store.origins import Origins

#: Seconds ``/healthz`` waits for checks: long enough for healthy dependencies, short enough for any prober.
HEALTH_PATIENCE_S = 0.25


@dataclass(frozen=True, slots=True)
class HealthResource:
    """``GET /healthz``: 200 while the process lives, and ``degraded`` if something it depends on does not."""

    readiness: Readiness

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say that the process lives."""
        degraded = any(self.readiness.look(HEALTH_PATIENCE_S).values())
        answer(resp, {"status": "ok", "degraded": degraded})

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
        checks = {name: {"status": "failed" if wrong else "ok", "detail": wrong} for name, wrong in found.items()}
        ready = not any(found.values())
        answer(resp, {"status": "ready" if ready else "unready", "checks": checks})
        resp.status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE

    on_head = on_get


class MetricsResource:
    """``GET /metrics``: counted in the database when asked, so every web process of one installation says the same."""

    def __init__(self, jobs: Jobs, events: Events, origins: Origins) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Counted(jobs, events, origins))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Write the metrics in the form that the client prefers."""
        encode, content_type = choose_encoder(req.get_header("Accept", default=""))
        resp.data = encode(self._registry)
        resp.content_type = content_type
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


@dataclass(frozen=True, slots=True)
class _Counted(Collector):
    jobs: Jobs
    events: Events
    origins: Origins

    def describe(self) -> list[Metric]:
        """Nothing, so that registering counts nothing yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count."""
        jobs = GaugeMetricFamily("foreman_jobs", "Jobs that are kept, by state.", labels=["state"])
        for state, count in self.jobs.counts().items():
            jobs.add_metric([state], count)
        pending = self.events.counts().get("pending", 0)
        yield jobs
        yield GaugeMetricFamily(
            "foreman_events_pending", "Webhook events that are still to be delivered.", value=pending
        )
        circuits = GaugeMetricFamily(
            "foreman_webhook_circuits", "Webhook origins whose circuit is not closed, by its state.", labels=["state"]
        )
        for circuit, count in self.origins.circuits(clock.now()).items():
            circuits.add_metric([circuit], count)
        yield circuits
        build = GaugeMetricFamily("foreman_build_info", "Always 1; the label says what runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
