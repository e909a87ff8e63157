"""The operations of jobs and of what belongs to one: ``/jobs…``."""

from __future__ import annotations

import falcon

from foreman.api import shown
from foreman.api.artifacts import ARTIFACT_NAME
from foreman.api.deliveries import EVENT_STATE, TRIES
from foreman.api.description import examples
from foreman.api.description.operation import Json, Operation, Reply
from foreman.api.events import MEDIA_SSE
from foreman.api.headers import IDEMPOTENCY_KEY, IF_NONE_MATCH, IF_RANGE, LAST_EVENT_ID, PREFER, RANGE
from foreman.api.problems import (
    ARTIFACT_GONE,
    BAD_HEADER,
    BAD_MEDIA_TYPE,
    BAD_PARAMETER,
    BAD_RANGE,
    NO_PLACE,
)
from foreman.api.query import JOB_ID, JOBS, WAIT
from foreman.domain.submission import SUBMISSION
from foreman.errors import (
    ArtifactNotFound,
    ArtifactStoreUnavailable,
    EventNotFound,
    EventSkipped,
    IdempotencyConflict,
    JobGone,
    JobNotFound,
    JobNotTerminal,
    JobTerminal,
    PriorityNotAllowed,
    QueueFull,
    SubmissionInvalid,
    TooManyQueued,
    TooManySubmissions,
)

_TAG, _DELIVERIES = "Jobs", "Deliveries"

_OF_JOB = (JobNotFound, JobGone)


def _link(operation: str, about: str) -> Json:
    return {"operationId": operation, "parameters": {"job_id": "$response.body#/job_id"}, "description": about}


_LINKS = {
    "job": _link("getJob", "The job."),
    "events": _link("getJobEvents", "Its states and its text."),
    "cancel": _link("cancelJob", "End it."),
    "delete": _link("deleteJob", "Purge it once it has ended."),
    "deliveries": _link("listDeliveries", "Every try to tell its receiver."),
}

OPERATIONS = (
    Operation(
        "POST",
        "/jobs",
        "submitJob",
        _TAG,
        "Submit a job",
        (
            Reply(
                202,
                "The job is on disk.",
                shown.Accepted,
                headers=("Location", "Cache-Control"),
                may_have=("Idempotent-Replayed", "Preference-Applied"),
                examples={"accepted": examples.acceptance()},
                links=_LINKS,
            ),
            Reply(
                200,
                "The job has ended within `Prefer: wait`.",
                shown.Job,
                headers=("Location", "Cache-Control"),
                may_have=("Idempotent-Replayed", "Preference-Applied"),
                links=_LINKS,
            ),
        ),
        about="The job is committed before the answer. An answer with a problem means that nothing was accepted.",
        parameters=(IDEMPOTENCY_KEY, PREFER),
        body=SUBMISSION,
        body_examples=examples.SUBMISSIONS,
        problems=(
            *(BAD_HEADER, BAD_MEDIA_TYPE, SubmissionInvalid, IdempotencyConflict, QueueFull),
            *(TooManyQueued, TooManySubmissions, PriorityNotAllowed),
        ),
    ),
    Operation(
        "GET",
        "/jobs",
        "listJobs",
        _TAG,
        "List jobs, newest first",
        (Reply(200, "A page.", shown.JobPage, headers=("Cache-Control",), examples={"one": examples.page()}),),
        about="Pages are stable while jobs are added. A parameter that is unknown, repeated or wrong is an error.",
        parameters=JOBS,
        problems=(BAD_PARAMETER,),
        head=True,
    ),
    Operation(
        "GET",
        "/jobs/{job_id}",
        "getJob",
        _TAG,
        "Read a job",
        (
            Reply(200, "The job.", shown.Job, headers=("ETag", "Cache-Control"), examples=examples.jobs()),
            Reply(304, "The client has it as it is.", headers=("ETag", "Cache-Control")),
        ),
        about="With `wait` the answer is held until the job ends or the time is up, and is what is so then.",
        parameters=(JOB_ID, WAIT, IF_NONE_MATCH),
        problems=(BAD_PARAMETER, *_OF_JOB),
        head=True,
    ),
    Operation(
        "DELETE",
        "/jobs/{job_id}",
        "deleteJob",
        _TAG,
        "Purge a job that has ended",
        (Reply(204, "The job and all that belonged to it are gone."),),
        parameters=(JOB_ID,),
        problems=(*_OF_JOB, JobNotTerminal),
    ),
    Operation(
        "POST",
        "/jobs/{job_id}/cancel",
        "cancelJob",
        _TAG,
        "Cancel a job",
        (
            Reply(200, "It has ended, cancelled.", shown.Job, headers=("Cache-Control",)),
            Reply(202, "It will end so; its run has not noticed yet.", shown.Job, headers=("Cache-Control",)),
        ),
        about="As often as you like. What text there was is kept as the artifact `partial`.",
        parameters=(JOB_ID,),
        problems=(*_OF_JOB, JobTerminal),
    ),
    Operation(
        "GET",
        "/jobs/{job_id}/events",
        "getJobEvents",
        _TAG,
        "Follow a job, or list its states",
        (
            Reply(
                200,
                "The states so far; with `Accept: text/event-stream` states and text, live, as server-sent events.",
                shown.JobHistory,
                streams=(MEDIA_SSE,),
                headers=("Vary", "Cache-Control"),
            ),
            Reply(204, "The client has seen the end already.", headers=("Vary", "Cache-Control")),
        ),
        about="An event's `data` is a JSON object; `Last-Event-ID` resumes. The stream ends after the terminal state.",
        parameters=(JOB_ID, LAST_EVENT_ID),
        problems=(*_OF_JOB, NO_PLACE),
    ),
    Operation(
        "GET",
        "/jobs/{job_id}/artifacts/{name}",
        "getArtifact",
        _TAG,
        "Read an artifact's bytes",
        (
            Reply(
                200,
                "All of them. `completion` is the native response object, `partial` the text of a job that failed.",
                {},
                media=(falcon.MEDIA_JSON, "text/plain"),
                headers=("ETag", "Accept-Ranges", "Cache-Control"),
            ),
            Reply(
                206,
                "The range that was asked for, as a part of that.",
                headers=("ETag", "Accept-Ranges", "Cache-Control", "Content-Range"),
            ),
            Reply(304, "The client has them.", headers=("ETag", "Accept-Ranges", "Cache-Control")),
        ),
        parameters=(JOB_ID, ARTIFACT_NAME, IF_NONE_MATCH, RANGE, IF_RANGE),
        problems=(*_OF_JOB, ArtifactNotFound, ARTIFACT_GONE, BAD_RANGE, ArtifactStoreUnavailable),
        head=True,
    ),
    Operation(
        "GET",
        "/jobs/{job_id}/deliveries",
        "listDeliveries",
        _DELIVERIES,
        "List every try to tell the receiver",
        (Reply(200, "A page, oldest first.", shown.DeliveryPage, headers=("Cache-Control",)),),
        parameters=(JOB_ID, *TRIES),
        problems=(BAD_PARAMETER, *_OF_JOB),
        head=True,
    ),
    Operation(
        "POST",
        "/jobs/{job_id}/deliveries/{state}/redeliver",
        "redeliver",
        _DELIVERIES,
        "Send an event again",
        (
            Reply(
                202,
                "It is pending: the same id and the same bytes, with a new timestamp and signature.",
                shown.Redelivery,
                headers=("Location", "Cache-Control"),
                examples={"done": examples.redelivery()},
            ),
        ),
        about="It keeps its place among the job's events, and asking twice sends once.",
        parameters=(JOB_ID, EVENT_STATE),
        problems=(*_OF_JOB, EventNotFound, EventSkipped),
    ),
)
