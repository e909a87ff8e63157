"""The life of a job: five states, why a job fails, and every edge between states as data.

``state`` only moves forward. Whether a job may be claimed is another matter (``ready_at``, ``lease_until``), so a retry
never steps back: a job that lost its worker while ``working`` stays ``working`` until its next run ends.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is. The order of the members is the order in which a job can reach them."""

    #: Submitted and committed; moved in by ``services/submit``, out by the run that first reaches the upstream.
    QUEUED = "queued"
    #: The upstream accepted a connection and is getting the model into memory; moved in and out by ``services/run``.
    LOADING = "loading"
    #: The model is in memory and the real call is under way, or its completion waits to be stored.
    WORKING = "working"
    #: The upstream said ``"done": true`` and the artifact ``completion`` is stored; moved in by ``services/run`` if it
    #: stays in the database, else by ``services/persist``.
    DONE = "done"
    #: The job will not complete; ``error.code`` says why. Moved in by whichever service finds out.
    FAILED = "failed"

    @property
    def rank(self) -> int:
        """How far along a state is; a job's rank never falls."""
        return list(State).index(self)


class Cause(StrEnum):
    """Why a job failed: ``error.code``, contract section 3."""

    #: Somebody asked for it.
    CANCELLED = "cancelled"
    #: Still ``queued`` after ``start_deadline_s``.
    START_DEADLINE = "start_deadline"
    #: The model was not in memory within ``load_timeout_s``.
    LOAD_TIMEOUT = "load_timeout"
    #: The real call took longer than ``exec_timeout_s``.
    EXEC_TIMEOUT = "exec_timeout"
    #: The upstream sent no byte for ``stall_timeout_s``; before the first text, for four times that.
    STALLED = "stalled"
    #: The upstream could not be connected to, or dropped the connection.
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    #: The upstream answered 4xx: the request itself is at fault, so it is never retried.
    UPSTREAM_REJECTED = "upstream_rejected"
    #: The upstream answered 5xx, or an error inside the stream, on the last attempt too.
    UPSTREAM_ERROR = "upstream_error"
    #: The upstream does not have the model.
    MODEL_NOT_FOUND = "model_not_found"
    #: The stream ended without ``"done": true`` on the last attempt too.
    TRUNCATED = "truncated"
    #: Workers died under this job more often than ``jobs.max_worker_losses``.
    WORKER_LOST = "worker_lost"
    #: The client of the synchronous path hung up.
    CLIENT_DISCONNECTED = "client_disconnected"
    #: A fault in foreman itself.
    INTERNAL = "internal"


#: Every move a job can make. What is not here cannot happen: the store guards each UPDATE with it.
EDGES: frozenset[tuple[State, State]] = frozenset(
    {
        (State.QUEUED, State.LOADING),
        (State.LOADING, State.WORKING),
        (State.WORKING, State.DONE),
        (State.QUEUED, State.FAILED),
        (State.LOADING, State.FAILED),
        (State.WORKING, State.FAILED),
    }
)

#: States with no way out.
TERMINAL: frozenset[State] = frozenset(State) - {before for before, _ in EDGES}

#: Causes after which the same submission may well succeed if it is submitted again.
RETRYABLE: frozenset[Cause] = frozenset(
    {
        Cause.START_DEADLINE,
        Cause.LOAD_TIMEOUT,
        Cause.STALLED,
        Cause.UPSTREAM_UNREACHABLE,
        Cause.UPSTREAM_ERROR,
        Cause.TRUNCATED,
        Cause.WORKER_LOST,
        Cause.INTERNAL,
    }
)


def can_move(before: State, after: State) -> bool:
    """Whether a job may go from ``before`` to ``after`` in one step."""
    return (before, after) in EDGES


def sources(after: State) -> frozenset[State]:
    """The states from which ``after`` can be reached in one step: the guard of the UPDATE that moves there."""
    return frozenset(before for before, target in EDGES if target is after)
