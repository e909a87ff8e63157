"""``/jobs/{id}/artifacts/{name}``: the bytes, whole or in part, never more of them in memory than one piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

import falcon

from foreman.api.headers import Span, byte_span, etag_matches
from foreman.api.parameter import Parameter
from foreman.api.problems import ARTIFACT_GONE, HTTPProblem
from foreman.api.query import job_id_of
from foreman.domain.job import Artifact
from foreman.domain.shape import Text
from foreman.errors import ArtifactNotFound
from foreman.store.artifacts import Artifacts
from foreman.store.jobs import Jobs
from foreman.store.objects import Objects

#: The column holds 64 characters.
_NAME = Text("must be an artifact's name", pattern="[A-Za-z0-9._-]{1,64}")
ARTIFACT_NAME = Parameter("name", "path", _NAME, "The artifact's name, as the job lists it.", "completion")

#: Kept by the client alone, and asked about before each use: it may have been deleted.
_CACHING = "private, no-cache"


@dataclass(frozen=True, slots=True)
class ArtifactResource:
    """``GET`` and ``HEAD`` of one artifact."""

    jobs: Jobs
    artifacts: Artifacts
    objects: Objects

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str, name: str) -> None:
        """Send the bytes; 206 for one range of them, 304 if the client has them."""
        artifact = self._find(job_id, name)
        tag = f'"{artifact.sha256}"'
        if etag_matches(req, tag):
            resp.status = HTTPStatus.NOT_MODIFIED
            _describe(resp, tag)
            return
        span = byte_span(req, tag, artifact.size_b)
        whole = Span(0, artifact.size_b, artifact.size_b)
        self._send(resp, artifact, span or whole)
        _describe(resp, tag)
        if span is not None:
            resp.status = HTTPStatus.PARTIAL_CONTENT
            resp.set_header("Content-Range", span.content_range)

    def on_head(self, req: falcon.Request, resp: falcon.Response, job_id: str, name: str) -> None:
        """As GET without the bytes; of a range RFC 9110 section 14.2 says nothing here, so it is the whole's head."""
        artifact = self._find(job_id, name)
        tag = f'"{artifact.sha256}"'
        if etag_matches(req, tag):
            resp.status = HTTPStatus.NOT_MODIFIED
        else:
            self._peek(artifact, Span(0, min(1, artifact.size_b), artifact.size_b))
            resp.content_type = artifact.content_type
            resp.content_length = artifact.size_b
        _describe(resp, tag)

    def _find(self, job_id: str, name: str) -> Artifact:
        """Find the artifact; the job is looked up first, since only it tells what never was from what is gone."""
        job = self.jobs.get(job_id_of(job_id))
        if not _NAME.fits(name):
            raise ArtifactNotFound(job.id, name)
        return self.artifacts.get(job.id, name)

    def _send(self, resp: falcon.Response, artifact: Artifact, span: Span) -> None:
        if artifact.data is not None:
            resp.data = artifact.data[span.start : span.end]
        else:
            resp.set_stream(self._peek(artifact, span), span.end - span.start)
        resp.content_type = artifact.content_type

    def _peek(self, artifact: Artifact, span: Span) -> Iterator[bytes]:
        """The bytes of ``span``, the first piece read already: after the status it is too late for a problem."""
        if artifact.location is None:
            return iter(())
        pieces = self.objects.read(artifact.location, span.start, span.end)
        try:
            return chain([next(pieces, b"")], pieces)
        except FileNotFoundError:
            raise HTTPProblem(ARTIFACT_GONE) from None


def _describe(resp: falcon.Response, tag: str) -> None:
    resp.set_header("ETag", tag)
    resp.set_header("Accept-Ranges", "bytes")
    resp.set_header("Cache-Control", _CACHING)
    # What a model wrote must not become a page because a browser guessed so.
    resp.set_header("X-Content-Type-Options", "nosniff")
