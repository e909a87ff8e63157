"""What foreman answers, as frozen values; members that this client does not know yet are passed over.

Times are aware and in UTC. A member that an older foreman does not send has its default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from foreman.domain.lifecycle import TERMINAL, State


class Answer(Struct, frozen=True, kw_only=True):
    """What all of them are."""


class Accepted(Answer, frozen=True, kw_only=True):
    """A submission that is on disk. ``state`` is past ``queued`` only for a job that was submitted before."""

    job_id: str
    state: State
    queue_position: int | None = None


class Failure(Answer, frozen=True, kw_only=True):
    """Why a job failed. ``code`` is one of ``foreman.domain.lifecycle.Cause``, or newer than this client."""

    code: str
    message: str = ""
    retryable: bool = False
    upstream_status: int | None = None


class Artifact(Answer, frozen=True, kw_only=True):
    """A stored result of a job; ``sha256`` in hex."""

    name: str
    content_type: str
    size_b: int
    sha256: str
    url: str = ""
    expires_at: datetime | None = None


class EventStatus(Answer, frozen=True, kw_only=True):
    """What became of one event; ``status`` is ``pending``, ``delivered``, ``dead`` or ``skipped``."""

    state: State
    sequence: int
    status: str
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None


class Webhook(Answer, frozen=True, kw_only=True):
    """Where a job's events go, and each that has happened."""

    url: str
    events: tuple[EventStatus, ...] = ()


class Summary(Answer, frozen=True, kw_only=True):
    """A job in a listing."""

    job_id: str
    state: State
    model: str
    created_at: datetime
    priority: str = "normal"
    metadata: dict[str, Any] = {}
    attempt: int = 0
    expires_at: datetime | None = None
    #: The states that were reached, in order.
    timestamps: dict[State, datetime] = {}
    error: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether it is ``done`` or ``failed``."""
        return self.state in TERMINAL


class Job(Summary, frozen=True, kw_only=True):
    """The whole of a job.

    ``result`` is the native response object of one that is done, without ``message`` where that is too long: see
    ``Client.result``. ``webhook`` is ``None`` for a job without one.
    """

    queue_position: int | None = None
    eta_s: float | None = None
    result: dict[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    webhook: Webhook | None = None


class Delivery(Answer, frozen=True, kw_only=True):
    """One try to deliver an event; ``outcome`` is ``delivered``, ``failed``, ``in_flight`` or ``unknown``."""

    event_id: str
    state: State
    sequence: int
    attempt: int
    at: datetime
    outcome: str
    duration_ms: int | None = None
    status: int | None = None
    error: str | None = None
    response_excerpt: str | None = None


class Redelivery(Answer, frozen=True, kw_only=True):
    """An event that is going to be sent again."""

    event_id: str
    state: State
    status: str


class WebhookEvent(Answer, frozen=True, kw_only=True):
    """An event in the listing of all jobs' events; ``status`` as in ``EventStatus``."""

    event_id: str
    job_id: str
    state: State
    sequence: int
    status: str
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    created_at: datetime | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    origin: str | None = None


class Origin(Answer, frozen=True, kw_only=True):
    """A receiver that events wait for or that fails; ``circuit`` is ``closed``, ``open`` or ``half_open``."""

    origin: str
    circuit: str
    failures: int = 0
    in_flight: int = 0
    pending: int = 0
    next_probe_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None


class Ping(Answer, frozen=True, kw_only=True):
    """What became of a ping; ``outcome`` is ``delivered`` or ``failed``."""

    outcome: str
    status: int | None = None
    error: str | None = None
    duration_ms: int = 0


class Upstream(Answer, frozen=True, kw_only=True):
    """A model server; ``status`` is ``ok``, ``down``, ``held`` or ``unknown``.

    ``models`` are those that it is for, none of them named: any. ``models_available`` is ``None`` if it does not tell.
    """

    name: str
    kind: str
    slots: int
    status: str
    slots_in_use: int = 0
    models: tuple[str, ...] = ()
    models_available: tuple[str, ...] | None = None
    models_loaded: tuple[str, ...] = ()
    failures: int = 0
    held_until: datetime | None = None
    checked_at: datetime | None = None
    error: Failure | None = None


class Health(Answer, frozen=True, kw_only=True):
    """A process that lives; ``degraded``: something that it depends on does not."""

    status: str
    degraded: bool = False


class Check(Answer, frozen=True, kw_only=True):
    """A dependency; ``status`` is ``ok`` or ``failed``, and ``detail`` says what is wrong."""

    status: str
    detail: str | None = None


class Readiness(Answer, frozen=True, kw_only=True):
    """Every dependency by name; ``status`` is ``ready`` or ``unready``."""

    status: str
    checks: dict[str, Check] = {}
