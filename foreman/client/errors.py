"""What can go wrong between a program and foreman, as facts with fields.

The tree::

    ForemanError
    └── ClientError
        ├── Unreachable         no whole answer came in time
        ├── AnswerUnreadable    what answered is not foreman, or not one that this client knows
        ├── ArtifactDamaged     the bytes that came are not those that were stored
        ├── JobNotEnded         a result was wanted, and the job has not ended in time
        ├── JobFailed           a result was wanted, and the job has failed: the code says why
        └── Refused             foreman answered with a problem, RFC 9457
            ├── Unavailable         not now: too many jobs, too many connected, something is away
            ├── KeyRefused          no API key, one that is not good, or one that does not allow this
            ├── SubmissionInvalid   the body is not a valid job: ``problems`` has all that is wrong
            ├── IdempotencyConflict the Idempotency-Key was used with another body
            ├── JobNotFound         no job has this id
            ├── JobGone             the job was deleted or pruned
            ├── JobEnded            too late to cancel it: it is done, or has failed
            ├── JobLives            only a job that has ended can be deleted
            ├── EventNotFound       the job has no event of this state
            ├── EventSkipped        the event was never built: there is nothing to send
            └── ArtifactNotFound    the job has no artifact of this name, or no longer
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from foreman.client.answers import Failure, Job
from foreman.errors import ForemanError, Problem

#: Answers that say "try again": foreman's own, and those of a proxy in front of one that is being restarted.
_NOT_NOW = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

#: What ``type`` of a problem begins with; ``kind`` is the rest.
_URN = "urn:foreman:problem:"


class ClientError(ForemanError):
    """The top of the tree."""


class Unreachable(ClientError):
    """No whole answer from ``origin``: ``reason`` says what happened last.

    What was asked may have been done all the same. ``lasting``: trying again cannot help, as with a bad certificate.
    """

    def __init__(self, origin: str, reason: str, *, lasting: bool = False) -> None:
        super().__init__(f"{origin}: {reason}")
        self.origin = origin
        self.reason = reason
        self.lasting = lasting


class AnswerUnreadable(ClientError):
    """``origin`` gave an answer that foreman does not give."""

    def __init__(self, origin: str, reason: str) -> None:
        super().__init__(f"{origin}: {reason}")
        self.origin = origin
        self.reason = reason


class ArtifactDamaged(ClientError):
    """The bytes of the artifact ``name`` have the SHA-256 ``came``, and those that were stored have ``stored``."""

    def __init__(self, job_id: str, name: str, *, stored: str, came: str) -> None:
        super().__init__(f"{job_id}/{name}: SHA-256 {came} in place of {stored}")
        self.job_id = job_id
        self.name = name
        self.stored = stored
        self.came = came


class JobNotEnded(ClientError):
    """``job`` is as it was when the time was up."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.job_id} is {job.state}")
        self.job = job


class JobFailed(ClientError):
    """``job`` has failed. ``code`` is for programs, ``message`` for people; ``retryable``: submit it again, perhaps."""

    def __init__(self, job: Job, failure: Failure) -> None:
        super().__init__(f"{job.job_id}: {failure.code}: {failure.message}")
        self.job = job
        self.code = failure.code
        self.message = failure.message
        self.retryable = failure.retryable
        self.upstream_status = failure.upstream_status


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem as it came. ``kind`` is what a program may branch on, such as ``queue-full``; a proxy's has none."""

    status: int
    kind: str
    title: str
    detail: str
    problems: tuple[Problem, ...] = ()
    #: Seconds that ``Retry-After`` asks for.
    retry_after_s: float | None = None


class Refused(ClientError):
    """foreman did not do what was asked. It has the fields of its ``refusal``."""

    def __init__(self, refusal: Refusal) -> None:
        said = [refusal.detail, *(f"{each.pointer or 'the body'}: {each.detail}" for each in refusal.problems)]
        super().__init__(f"{refusal.status} {refusal.title}: {' '.join(said)}".rstrip(": "))
        self.refusal = refusal
        self.status = refusal.status
        self.kind = refusal.kind
        self.title = refusal.title
        self.detail = refusal.detail
        self.problems = refusal.problems
        self.retry_after_s = refusal.retry_after_s


class Unavailable(Refused):
    """Not now."""


class KeyRefused(Refused):
    """The API key is missing, not good, or does not allow this."""


class SubmissionInvalid(Refused):
    """The body is not a valid job."""


class IdempotencyConflict(Refused):
    """The key belongs to a job with another body."""


class JobNotFound(Refused):
    """No job of the caller's has or had this id."""


class JobGone(Refused):
    """The job was deleted, or its time is over."""


class JobEnded(Refused):
    """The job is done, or has failed for another reason."""


class JobLives(Refused):
    """The job has not ended yet."""


class EventNotFound(Refused):
    """The job has not come to this state, or has no webhook."""


class EventSkipped(Refused):
    """Nobody wanted the event when it happened."""


class ArtifactNotFound(Refused):
    """The job has no artifact of this name, or its bytes are no more."""


_BY_KIND: dict[str, type[Refused]] = {
    "invalid-job": SubmissionInvalid,
    "idempotency-conflict": IdempotencyConflict,
    "key-required": KeyRefused,
    "admin-key-required": KeyRefused,
    "job-not-found": JobNotFound,
    "job-gone": JobGone,
    "job-ended": JobEnded,
    "job-not-ended": JobLives,
    "event-not-found": EventNotFound,
    "event-skipped": EventSkipped,
    "artifact-not-found": ArtifactNotFound,
    "artifact-gone": ArtifactNotFound,
}


class _Place(msgspec.Struct, frozen=True):
    pointer: str = ""
    detail: str = ""


class _Body(msgspec.Struct, frozen=True):
    type: str = ""
    title: str = ""
    detail: str = ""
    errors: list[_Place] = []


def refused(status: int, body: bytes, retry_after_s: float | None) -> Refused:
    """The error that an answer with this ``status`` is, whether or not its ``body`` is a problem."""
    try:
        said = msgspec.json.decode(body, type=_Body)
    except msgspec.DecodeError:
        said = _Body()
    refusal = Refusal(
        status=status,
        kind=said.type.removeprefix(_URN) if said.type.startswith(_URN) else "",
        title=said.title or _phrase(status),
        detail=said.detail,
        problems=tuple(Problem(each.pointer, each.detail) for each in said.errors),
        retry_after_s=retry_after_s,
    )
    known: Any = _BY_KIND.get(refusal.kind, Unavailable if status in _NOT_NOW else Refused)
    error: Refused = known(refusal)
    return error


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an answer without a meaning"
