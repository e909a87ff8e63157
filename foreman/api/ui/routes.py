"""Every route below ``/ui``, and what each of them is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon

from foreman.api.artifacts import ArtifactResource
from foreman.api.ui import deliveries
from foreman.api.ui.browser import ROOT
from foreman.api.ui.deliveries import DeliveriesPage, RecoverForm
from foreman.api.ui.job import CancelButton, Folder, JobPageResource, RedeliverButton
from foreman.api.ui.queue import Board, QueueResource
from foreman.api.ui.sign_in import SignInResource, SignOutResource
from foreman.api.ui.snapshots import Snapshots
from foreman.api.ui.submit import SubmitForm
from foreman.api.ui.upstreams import UpstreamsPage
from foreman.api.view import JobView
from foreman.api.waiting import WaitingRoom
from foreman.store.overview import Overview

if TYPE_CHECKING:
    from foreman.api.app import Parts
    from foreman.api.events import EventsResource


def add_routes(
    app: falcon.App[Any, Any], parts: Parts, view: JobView, waiting: WaitingRoom, events: EventsResource
) -> None:
    """Add them to ``app``.

    What a job says and its artifacts have second paths here: a browser sends its cookie nowhere else.
    """
    queue = QueueResource(Board(parts.jobs, Overview(), Snapshots()))
    app.add_route(ROOT, queue)
    app.add_route(f"{ROOT}/queue", queue, suffix="piece")
    app.add_route(f"{ROOT}/submit", SubmitForm(parts.submitter, parts.upstreams, parts.defaults, parts.policy))
    app.add_route(f"{ROOT}/login", SignInResource(parts.authenticator))
    app.add_route(f"{ROOT}/logout", SignOutResource(parts.authenticator))
    upstreams = UpstreamsPage(parts.upstreams, parts.kinds, Snapshots())
    app.add_route(f"{ROOT}/upstreams", upstreams)
    app.add_route(f"{ROOT}/upstreams/status", upstreams, suffix="piece")
    app.add_route(deliveries.PATH, DeliveriesPage(parts.deliveries, parts.origins))
    app.add_route(f"{deliveries.PATH}/recover", RecoverForm(parts.redeliverer))
    job = f"{ROOT}/jobs/{{job_id}}"
    page = JobPageResource(Folder(view, parts.deliveries, Snapshots()))
    app.add_route(job, page)
    app.add_route(f"{job}/status", page, suffix="status")
    app.add_route(f"{job}/events", events)
    app.add_route(f"{job}/artifacts/{{name}}", ArtifactResource(parts.jobs, parts.artifacts, parts.objects))
    app.add_route(f"{job}/cancel", CancelButton(parts.canceller, view, waiting))
    app.add_route(f"{job}/deliveries/{{state}}/redeliver", RedeliverButton(view, parts.redeliverer))
