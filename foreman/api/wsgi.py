"""What gunicorn serves: ``foreman.api.wsgi:application()``, made from this process's settings in each worker."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import falcon

from foreman import wiring
from foreman.api.app import Parts, make_app
from foreman.api.metrics import Sources
from foreman.api.readiness import CHECK_TIMEOUT_S
from foreman.domain.job import Limits
from foreman.errors import ArtifactStoreUnavailable, StoreUnavailable
from foreman.net.upstream import Upstream
from foreman.queue.probe import answers


def application() -> falcon.App[Any, Any]:
    """The WSGI application of this process.

    Raises:
        SettingInvalid: a setting that the API needs cannot be used.
    """
    conf = wiring.settings()
    stores = wiring.stores()
    services = wiring.services()
    jobs = conf.jobs
    return make_app(
        Parts(
            authenticator=wiring.authenticator(),
            submitter=services.submitter,
            canceller=services.canceller,
            watcher=wiring.watcher(),
            pruner=services.pruner,
            redeliverer=services.redeliverer,
            pinger=services.pinger,
            passthroughs=wiring.passthroughs(),
            jobs=stores.jobs,
            line=stores.line,
            events=stores.events,
            deliveries=stores.deliveries,
            artifacts=stores.artifacts,
            objects=stores.objects,
            upstreams=stores.upstreams,
            metrics=Sources(stores.counters, stores.gauges, stores.events, stores.origins, stores.upstreams),
            tally=wiring.tally(),
            kinds={each.name: each.kind for each in wiring.endpoints()},
            origins=stores.origins,
            checks={"database": _database, "redis": _redis, "upstream": _upstream, "artifacts": _artifacts},
            defaults=Limits(
                ttl_s=jobs.ttl_s,
                start_deadline_s=None,
                load_timeout_s=jobs.load_timeout_s,
                exec_timeout_s=jobs.exec_timeout_s,
                stall_timeout_s=jobs.stall_timeout_s,
                max_attempts=None,
            ),
            policy=wiring.policy(),
            public_url=conf.public_url,
            inline_limit_b=conf.artifacts.inline_limit_b,
            max_body_b=conf.web.max_body_b,
            max_waits=conf.web.threads // 2,
            max_followers=conf.web.followers,
            stopping=wiring.stopping,
        )
    )


def _database() -> str | None:
    try:
        # No job has this id; looking for it needs the connection, the schema and one index.
        wiring.stores().jobs.state("")
    except StoreUnavailable:
        return "cannot be read"
    return None


def _redis() -> str | None:
    return None if answers(wiring.broker()) else "does not answer; jobs are accepted, and start when it is back"


def _upstream() -> str | None:
    upstreams = wiring.upstreams().values()
    if _any_answers(upstreams):
        return None
    who, it = ("does not answer", "it") if len(upstreams) == 1 else (f"none of the {len(upstreams)} answers", "one")
    return f"{who}; jobs are accepted, and wait for {it}"


def _any_answers(upstreams: Collection[Upstream]) -> bool:
    """All are asked at once, so that one without an answer does not use up the time of the others."""
    pool = ThreadPoolExecutor(len(upstreams), thread_name_prefix="check-upstream")
    try:
        asked = [pool.submit(each.probe, CHECK_TIMEOUT_S) for each in upstreams]
        return any(each.result() is None for each in as_completed(asked))
    finally:
        pool.shutdown(wait=False)


def _artifacts() -> str | None:
    try:
        wiring.stores().objects.probe()
    except ArtifactStoreUnavailable:
        return "cannot be used; finished jobs wait to be stored"
    return None
