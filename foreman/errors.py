"""Every error foreman raises on purpose; errors are facts with fields, and the API maps them to HTTP in one table.

The tree::

    ForemanError
    ├── SettingInvalid          a setting that stops the start: the line names it
    ├── BodyInvalid             a body that is JSON but not what the resource takes: every problem found
    │   └── SubmissionInvalid   it is not a job
    ├── IdempotencyConflict     the key was used with another body
    ├── QueueFull               more queued jobs than jobs.max_queue
    ├── TooManyQueued           more queued jobs than the caller's key allows
    ├── TooManySubmissions      more jobs within a minute than the caller's key allows
    ├── PriorityNotAllowed      a higher priority than the caller's key allows
    ├── JobNotFound             no such id, now or ever
    ├── JobGone                 the id was pruned or deleted
    ├── JobNotTerminal          the action needs a job that has ended
    ├── JobTerminal             the action needs a job that has not ended
    ├── EventNotFound           the job has no event of this state
    ├── EventSkipped            the event was never built: there is nothing to send
    ├── ArtifactNotFound        the job has no artifact of this name
    ├── StaleLease              the lease was lost: what was about to be written is refused
    ├── StoreUnavailable        the database cannot be read or written now
    ├── ArtifactStoreUnavailable  the artifact store cannot be read or written now
    └── ClientError             what goes wrong at the other end: see client/errors.py
"""

from __future__ import annotations

from dataclasses import dataclass


class ForemanError(Exception):
    """The top of the tree; catch it only at a process edge."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a submitted body.

    ``pointer`` is an RFC 6901 JSON pointer into the body (``""``: the whole body); ``detail`` says what would be right.
    """

    pointer: str
    detail: str


class SettingInvalid(ForemanError):
    """A setting cannot be used. ``name`` is ``section.key``; ``str(error)`` is the one line an operator is shown."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


class BodyInvalid(ForemanError):
    """The body is valid JSON and not what is wanted; ``problems`` holds all that is wrong with it, never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(f"{len(problems)} problem(s) in the body")
        self.problems = problems


class SubmissionInvalid(BodyInvalid):
    """The body is not a valid job."""


class IdempotencyConflict(ForemanError):
    """The ``Idempotency-Key`` belongs to ``job_id``, which was submitted with another body."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class QueueFull(ForemanError):
    """The queue holds ``limit`` jobs already; one place should be free in about ``retry_after_s``."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        super().__init__(f"the queue holds {limit} jobs")
        self.limit = limit
        self.retry_after_s = retry_after_s


class AllowanceUsedUp(ForemanError):
    """The caller's key allows ``limit`` and no more; another job should be accepted in about ``retry_after_s``."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        super().__init__(f"the key allows {limit}")
        self.limit = limit
        self.retry_after_s = retry_after_s


class TooManyQueued(AllowanceUsedUp):
    """``limit`` jobs of this key are queued already."""


class TooManySubmissions(AllowanceUsedUp):
    """``limit`` jobs of this key were submitted within the last minute."""


class PriorityNotAllowed(ForemanError):
    """The caller's key allows no higher priority than ``highest``."""

    def __init__(self, highest: str) -> None:
        super().__init__(highest)
        self.highest = highest


class JobError(ForemanError):
    """An error about one job, ``job_id``."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class JobNotFound(JobError):
    """No job has or had this id."""


class JobGone(JobError):
    """The job was pruned or deleted; its id stays known for ``prune.tombstone_ttl_s``."""


class JobNotTerminal(JobError):
    """The job has not ended yet."""


class JobTerminal(JobError):
    """The job has ended already."""


class StaleLease(JobError):
    """The caller's fencing token is no longer the job's: somebody else owns the work, and the write was refused."""


class EventError(ForemanError):
    """An error about the event of one job that announces one state."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"{job_id}-{state}")
        self.job_id = job_id
        self.state = state


class EventNotFound(EventError):
    """The job has not reached the state, or has no webhook."""


class EventSkipped(EventError):
    """The event was not to be sent when its state was reached, so its body was never built."""


class ArtifactNotFound(ForemanError):
    """The job exists, and has no stored artifact called ``name``."""

    def __init__(self, job_id: str, name: str) -> None:
        super().__init__(f"{job_id}/{name}")
        self.job_id = job_id
        self.name = name


class StoreUnavailable(ForemanError):
    """The database is locked, full or away. Nothing of the refused transaction was written."""


class ArtifactStoreUnavailable(ForemanError):
    """The artifact store refused a read or write; try again later."""
