"""foreman as an object: one method for each thing that it can be asked."""

from __future__ import annotations

import io
import os
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from msgspec import Struct

from foreman import clock
from foreman.client.answers import (
    Accepted,
    Artifact,
    Delivery,
    Health,
    Job,
    Readiness,
    Redelivery,
    Summary,
    Upstream,
)
from foreman.client.download import download
from foreman.client.errors import (
    ArtifactNotFound,
    JobFailed,
    JobGone,
    JobNotEnded,
    Refusal,
    Unavailable,
    Unreachable,
)
from foreman.client.following import Event, follow
from foreman.client.pages import given, pages, text_of
from foreman.client.patience import Patience
from foreman.client.transport import Request, Transport, path_of, posted
from foreman.client.webhooks import Webhooks
from foreman.domain.lifecycle import State

T = TypeVar("T")

#: Seconds that a call puts up with trouble: a restart of foreman takes a few.
DEADLINE_S = 30.0
#: Seconds that foreman is asked to hold an answer: the most that it does.
_HOLD_S = 60.0
#: Seconds between two looks at a job where foreman has no place left for who waits and answers at once.
_LOOK_S = 1.0
#: The artifact that is the whole of a result.
_COMPLETION = "completion"


class JobKeys(TypedDict, total=False):
    """foreman's own keys of a submission; docs/quickstart.md says what each does and what its default is."""

    state_webhook_url: str
    state_webhook_events: Sequence[str]
    metadata: Mapping[str, Any]
    priority: Literal["interactive", "normal", "batch"]
    ttl_s: float
    start_deadline_s: float
    load_timeout_s: float
    exec_timeout_s: float
    stall_timeout_s: float
    max_attempts: int


class _Upstreams(Struct, frozen=True):
    upstreams: tuple[Upstream, ...] = ()


class Client:
    """Asks the foreman at ``url``. Safe to share between threads; close it, or use it as a context manager.

    Broken connections and answers that say "not now" (429, 502, 503, 504) are tried again, no sooner than their
    ``Retry-After``, for ``deadline_s`` seconds in all; those that wait for a job bear that much trouble in a row.
    A request may so arrive twice; nothing is done twice by it, but that a ping or a redelivery may be sent once more.

    All methods raise:
        Unreachable, Unavailable: foreman did not answer in time, or only "not now".
        KeyRefused: the API key is missing, not good, or not enough.
        Refused: the other problems, those that name the job or the body as classes of their own: see ``errors``.
        AnswerUnreadable: something else than foreman listens there.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        deadline_s: float = DEADLINE_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is sent yet. ``tls``: for a certificate that the system does not trust.

        Raises: ValueError if ``url`` is not one of ``http`` or ``https``.
        """
        self._transport = Transport(url, api_key, tls)
        self._deadline_s = deadline_s

    def __repr__(self) -> str:
        return f"Client({self._transport.origin!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    # -------------------------------------------------------------------------------------------------------- one job

    def submit(
        self, chat: Mapping[str, Any], /, *, idempotency_key: str | None = None, **keys: Unpack[JobKeys]
    ) -> Accepted:
        """Submit a job: an Ollama chat request, which may have foreman's own keys in it or beside it.

        It is submitted once however often the request has to be sent, by an ``Idempotency-Key`` of its own. With one
        that you give, submitting the same again answers with the job that there is.

        Raises:
            SubmissionInvalid: ``problems`` has all that is wrong with the body.
            IdempotencyConflict: your key was used with another body.
            TypeError, ValueError: JSON has no words for the body.
        """
        headers = {"Idempotency-Key": idempotency_key or f"client-{clock.new_id()}"}
        return self._fetch(posted("/jobs", dict(chat) | dict(keys), headers), Accepted)

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises:
            JobNotFound, JobGone: it never was, or is no more.
        """
        return self._fetch(Request("GET", path_of("jobs", job_id)), Job)

    def wait(self, job_id: str, *, deadline_s: float | None = None) -> Job:
        """The job once it has ended, or as it is after ``deadline_s`` seconds: see ``Job.ended``. ``None``: any time.

        Raises:
            JobNotFound, JobGone: it never was, or is no more.
        """
        until = inf if deadline_s is None else clock.monotonic() + deadline_s
        patience = Patience(self._deadline_s, until)
        while True:
            began = clock.monotonic()
            hold_s = max(0.0, min(_HOLD_S, until - began))
            request = Request("GET", path_of("jobs", job_id), [("wait", f"{hold_s:.3f}")])
            try:
                reply = self._transport.once(request, hold_s + self._deadline_s)
            except (Unreachable, Unavailable) as error:
                patience.excuse(min(hold_s, clock.monotonic() - began))
                patience.endure(error)
                continue
            patience.renew()
            job = self._transport.decoded(reply.body, Job)
            left_s = until - clock.monotonic()
            if job.ended or left_s <= 0:
                return job
            time.sleep(max(0.0, min(_LOOK_S - (clock.monotonic() - began), left_s)))

    def result(self, job_id: str, *, deadline_s: float | None = None) -> dict[str, Any]:
        """The upstream's whole answer, as Ollama's ``/api/chat`` gives it, once the job is done.

        Raises:
            JobFailed: it has failed; ``code`` says why.
            JobNotEnded: not within ``deadline_s``.
            JobNotFound, JobGone: it never was, or is no more.
        """
        job = self.wait(job_id, deadline_s=deadline_s)
        if job.error is not None:
            raise JobFailed(job, job.error)
        if not job.ended:
            raise JobNotEnded(job)
        if job.result is not None and "message" in job.result:
            return job.result
        return self._transport.decoded(self.artifact(job_id, _COMPLETION), dict[str, Any])

    def follow(self, job_id: str, *, after: str | None = None, deadline_s: float | None = None) -> Iterator[Event]:
        """States and text as they come, until the job has ended or ``deadline_s`` is over; ``None``: any time.

        From the job's beginning, or ``after`` the ``id`` of an event that you had. A connection that breaks is gone on
        with where it was: nothing comes twice, and what is missing is said to be: see ``Restarted`` and ``Gap``.

        Raises:
            JobNotFound, JobGone: it never was, or is no more.
        """
        until = inf if deadline_s is None else clock.monotonic() + deadline_s
        return follow(self._transport, job_id, after=after, outage_s=self._deadline_s, until=until)

    def cancel(self, job_id: str) -> Job:
        """End a job; as often as you like. It has ended, unless its run has not noticed within 2 s: see ``Job.ended``.

        Raises:
            JobEnded: it is done, or has failed for another reason.
            JobNotFound, JobGone: it never was, or is no more.
        """
        return self._fetch(Request("POST", f"{path_of('jobs', job_id)}/cancel"), Job)

    def delete(self, job_id: str) -> None:
        """Purge a job that has ended, and all that belongs to it. One that is gone already is no error.

        Raises:
            JobLives: it has not ended.
            JobNotFound: it never was.
        """
        with suppress(JobGone):
            self._transport.send(Request("DELETE", path_of("jobs", job_id)), self._patience())

    # -------------------------------------------------------------------------------------------------------- listing

    def jobs(
        self,
        *,
        state: State | str | None = None,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Summary]:
        """Jobs, newest first, all that match; ``metadata``: top-level values that a job must have.

        They are asked for a page at a time, 50 unless ``page_size`` (1 to 200) says otherwise, when they are needed.
        """
        query = given({"state": state, "model": model, "created_after": created_after, "limit": page_size})
        query += [(f"metadata.{name}", text_of(value)) for name, value in (metadata or {}).items()]
        return pages(self._transport, Request("GET", "/jobs", query), "jobs", tuple[Summary, ...], self._deadline_s)

    # ------------------------------------------------------------------------------------------------------ artifacts

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """What a job that has ended left: ``completion``, or ``partial`` of one that failed.

        Raises:
            JobNotFound, JobGone: it never was, or is no more.
        """
        return self.get(job_id).artifacts

    def artifact(self, job_id: str, name: str = _COMPLETION) -> bytes:
        """The bytes of an artifact, whose SHA-256 is right.

        Raises:
            ArtifactNotFound: the job has none of this name.
            ArtifactDamaged: what came is something else.
            JobNotFound, JobGone: it never was, or is no more.
        """
        into = io.BytesIO()
        download(self._transport, job_id, self._artifact(job_id, name), into, self._deadline_s)
        return into.getvalue()

    def download(self, job_id: str, path: Path | str, name: str = _COMPLETION) -> Artifact:
        """Write an artifact to a file, which is whole and right or not there; one that is there is replaced.

        Raises: as ``artifact``; OSError if it cannot be written.
        """
        artifact = self._artifact(job_id, name)
        target = Path(path)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                download(self._transport, job_id, artifact, file.file, self._deadline_s)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink()
                raise
        return artifact

    # ----------------------------------------------------------------------------------------------- webhooks and more

    @property
    def webhooks(self) -> Webhooks:
        """What concerns the webhooks of all jobs."""
        return Webhooks(self._transport, self._deadline_s)

    def deliveries(self, job_id: str, *, page_size: int | None = None) -> Iterator[Delivery]:
        """Every try to tell the job's receiver, oldest first.

        Raises:
            JobNotFound, JobGone: it never was, or is no more.
        """
        request = Request("GET", f"{path_of('jobs', job_id)}/deliveries", given({"limit": page_size}))
        return pages(self._transport, request, "deliveries", tuple[Delivery, ...], self._deadline_s)

    def redeliver(self, job_id: str, state: State | str) -> Redelivery:
        """Send the event of a state again, whatever became of it.

        Raises:
            EventNotFound: the job has not come to that state, or has no webhook.
            EventSkipped: it was never built.
            JobNotFound, JobGone: the job never was, or is no more.
        """
        return self._fetch(Request("POST", path_of("jobs", job_id, "deliveries", state, "redeliver")), Redelivery)

    def upstreams(self) -> tuple[Upstream, ...]:
        """How each model server is; with API keys on, it takes an admin key."""
        return self._fetch(Request("GET", "/upstreams"), _Upstreams).upstreams

    def health(self) -> Health:
        """Whether foreman lives; needs no API key."""
        return self._fetch(Request("GET", "/healthz"), Health)

    def readiness(self) -> Readiness:
        """Whether what foreman depends on answers, each by name; needs no API key."""
        request = Request("GET", "/readyz", also=frozenset({HTTPStatus.SERVICE_UNAVAILABLE}))
        return self._fetch(request, Readiness)

    def _artifact(self, job_id: str, name: str) -> Artifact:
        for artifact in self.artifacts(job_id):
            if artifact.name == name:
                return artifact
        raise ArtifactNotFound(
            Refusal(HTTPStatus.NOT_FOUND, "artifact-not-found", "There is no such artifact", f"{job_id} has no {name}.")
        )

    def _patience(self) -> Patience:
        return Patience(self._deadline_s)

    def _fetch(self, request: Request, kind: type[T]) -> T:
        return self._transport.fetch(request, self._patience(), kind)
