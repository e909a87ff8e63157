"""What the API answers, as types: mypy holds whoever builds an answer to them, and the description is made of them.

A member that is ``None`` is there and ``null``; one that may be missing is ``NotRequired``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from foreman.domain.delivery import Outcome, TryError
from foreman.domain.job import Failure
from foreman.domain.lifecycle import State
from foreman.domain.origin_health import Circuit
from foreman.domain.submission import PRIORITIES
from foreman.domain.upstream import Status as UpstreamStatus
from foreman.store.deliveries import STATUSES

Id = Annotated[str, Meta(description="The id of a job, a ULID.", examples=["01M85VW3NCMASR2TMX7H7DCM6B"])]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T03:39:53.123Z"])]
Uri = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
Count = Annotated[int, Meta(ge=0)]
FromOne = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Sequence = Annotated[int, Meta(ge=1, description="From 1, in the order of the job's states.")]
Cursor = Annotated[str | None, Meta(description="Where the next page begins, for `cursor`; null on the last one.")]
EventId = Annotated[str, Meta(description="`<job_id>-<state>`: what a receiver dedupes on.")]
Status = Annotated[str, Meta(extra_json_schema={"enum": list(STATUSES)})]
PriorityName = Annotated[str, Meta(extra_json_schema={"enum": list(PRIORITIES.words)})]
HttpStatus = Annotated[int | None, Meta(description="What the receiver answered; null without an answer.")]
TryFailure = Annotated[
    str | None,
    Meta(description="Why there was no answer.", extra_json_schema={"enum": [*TryError, None]}),
]


class Links(TypedDict):
    """Paths of what belongs to a job."""

    self: str
    events: str
    cancel: str


class Accepted(TypedDict):
    """A submission that is on disk. Its state is past `queued` only if it was submitted before."""

    job_id: Id
    state: State
    queue_position: Annotated[FromOne | None, Meta(description="From 1; null where it is not known or not queued.")]
    links: Links


class Timestamps(TypedDict, total=False):
    """When each state that was reached was entered."""

    queued: Time
    loading: Time
    working: Time
    done: Time
    failed: Time


class JobIdentity(TypedDict):
    """A job by itself."""

    job_id: Id
    state: State
    model: str
    priority: PriorityName
    metadata: dict[str, Any]
    attempt: Annotated[int, Meta(ge=0, description="The run that is under way, or was the last; 0 before the first.")]
    created_at: Time
    expires_at: Annotated[Time | None, Meta(description="When the job is pruned; null until it ends.")]
    timestamps: Timestamps


class JobSummary(JobIdentity):
    """A job in a listing: without what takes another look for each."""

    error: Failure | None


class ArtifactEntry(TypedDict):
    """A stored result."""

    name: str
    content_type: str
    size_b: Count
    sha256: str
    url: Uri
    expires_at: Time | None


class EventEntry(TypedDict):
    """What became of one event."""

    state: State
    sequence: Sequence
    status: Status
    attempts: Count
    last_status: HttpStatus
    last_error: TryFailure
    next_attempt_at: Time | None
    delivered_at: Time | None


class JobWebhook(TypedDict):
    """Where a job's events go, and each that has happened."""

    url: str
    events: list[EventEntry]


class JobTail(TypedDict):
    """What of a job stands behind its result."""

    error: Failure | None
    artifacts: list[ArtifactEntry]
    webhook: Annotated[JobWebhook | None, Meta(description="null: the job has none.")]


class Job(JobIdentity, JobTail):
    """The whole of a job."""

    queue_position: Annotated[FromOne | None, Meta(description="From 1; null where it is not known or not queued.")]
    eta_s: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Seconds until it is done, as far as can be told.")
    ]
    result: Annotated[
        dict[str, Any] | None,
        Meta(description="The native response object of a job that is done; over the inline limit without `message`."),
    ]


class JobPage(TypedDict):
    """Jobs, the newest first."""

    jobs: list[JobSummary]
    next_cursor: Cursor


class HistoryEntry(TypedDict):
    """A state that a job has reached."""

    state: State
    at: Time
    sequence: Sequence
    error: NotRequired[Failure]


class JobHistory(TypedDict):
    """The states that a job has reached, in order."""

    job_id: Id
    events: list[HistoryEntry]


class Delivery(TypedDict):
    """One try to deliver an event."""

    event_id: EventId
    state: State
    sequence: Sequence
    attempt: Annotated[int, Meta(ge=1, description="From 1 for each event.")]
    at: Time
    duration_ms: Count | None
    outcome: Annotated[
        Outcome,
        Meta(description="`unknown`: the sender died, and the receiver may have the event."),
    ]
    status: HttpStatus
    error: TryFailure
    response_excerpt: Annotated[str | None, Meta(description="The beginning of what the receiver answered.")]


class DeliveryPage(TypedDict):
    """Tries, the oldest first."""

    deliveries: list[Delivery]
    next_cursor: Cursor


class Redelivery(TypedDict):
    """An event that is going to be sent again."""

    event_id: EventId
    state: State
    status: Literal["pending"]


class WebhookEvent(TypedDict):
    """An event among those of all jobs."""

    event_id: EventId
    job_id: Id
    state: State
    sequence: Sequence
    status: Status
    attempts: Count
    last_status: HttpStatus
    last_error: TryFailure
    created_at: Time
    next_attempt_at: Time | None
    delivered_at: Time | None
    origin: Annotated[str | None, Meta(description="Scheme, host and port that it goes to.")]


class WebhookEventPage(TypedDict):
    """Events: those of the newest job first."""

    events: list[WebhookEvent]
    next_cursor: Cursor


class Recovered(TypedDict):
    """How many events are going to be sent again."""

    recovered: Count


class PingOutcome(TypedDict):
    """What became of a ping: exactly one of `status` and `error` is not null."""

    outcome: Literal["delivered", "failed"]
    status: HttpStatus
    error: TryFailure
    duration_ms: Count


class Origin(TypedDict):
    """A receiver that events wait for or that fails."""

    origin: str
    circuit: Circuit
    failures: Annotated[int, Meta(ge=0, description="Tries that failed in a row.")]
    in_flight: Count
    pending: Count
    next_probe_at: Time | None
    last_status: HttpStatus
    last_error: TryFailure


class Origins(TypedDict):
    """Circuits that are not closed first, then those for which the most events are pending."""

    origins: list[Origin]


class Upstream(TypedDict):
    """A model server."""

    name: str
    kind: str
    status: UpstreamStatus
    slots: Count
    slots_in_use: Count
    models: Annotated[list[str], Meta(description="Those that it is for; none named: any.")]
    models_available: Annotated[list[str] | None, Meta(description="null: it does not tell.")]
    models_loaded: list[str]
    failures: Annotated[int, Meta(ge=0, description="Tries in a row that it did not take.")]
    held_until: Time | None
    checked_at: Time | None
    error: Failure | None


class Upstreams(TypedDict):
    """All of them, in the order of the settings."""

    upstreams: list[Upstream]


class Health(TypedDict):
    """The process lives; degraded: something that it depends on does not answer."""

    status: Literal["ok"]
    degraded: bool


class Check(TypedDict):
    """A dependency."""

    status: Literal["ok", "failed"]
    detail: Annotated[str | None, Meta(description="What is wrong; null: nothing.")]


class Readiness(TypedDict):
    """Every dependency by its name."""

    status: Literal["ready", "unready"]
    checks: dict[str, Check]


class ProblemPlace(TypedDict):
    """One thing that is wrong with a body."""

    pointer: Annotated[str, Meta(description="Where: an RFC 6901 pointer; empty: the whole.")]
    detail: Annotated[str, Meta(description="What would be right there.")]


class Problem(TypedDict):
    """An error, after RFC 9457. Branch on `type`; the texts are for people."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[ProblemPlace]]


class OllamaError(TypedDict):
    """An error as Ollama writes it."""

    error: str


class OpenAIErrorBody(TypedDict):
    """What is wrong."""

    message: str
    type: Literal["invalid_request_error", "not_found_error", "server_error"]
    param: None
    code: str | None


class OpenAIError(TypedDict):
    """An error as OpenAI writes it."""

    error: OpenAIErrorBody
