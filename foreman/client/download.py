"""An artifact's bytes: gone on with after a broken connection, and compared with the SHA-256 that was stored."""

from __future__ import annotations

import hashlib
from contextlib import closing
from http import HTTPStatus
from math import inf
from typing import IO

from foreman.client.answers import Artifact
from foreman.client.errors import ArtifactDamaged, Unavailable, Unreachable
from foreman.client.patience import Patience
from foreman.client.transport import Request, Transport, path_of


def download(transport: Transport, job_id: str, artifact: Artifact, into: IO[bytes], outage_s: float) -> None:
    """Write the artifact into ``into``, which is empty, and can be emptied again.

    Raises:
        ArtifactDamaged: what came is something else.
        Unreachable, Unavailable: it did not go on for ``outage_s``.
        Refused: it is not there.
    """
    patience = Patience(outage_s)
    digest = hashlib.sha256()
    while True:
        have_b = into.tell()
        try:
            with closing(transport.open(_request(job_id, artifact, have_b), patience.left_s)) as response:
                if response.status != HTTPStatus.PARTIAL_CONTENT:
                    digest = hashlib.sha256()
                    into.seek(0)
                    into.truncate()
                for piece in transport.pieces(response, inf):
                    into.write(piece)
                    digest.update(piece)
            break
        except (Unreachable, Unavailable) as error:
            if into.tell() > have_b:
                patience.renew()
            patience.endure(error)
    if (came := digest.hexdigest()) != artifact.sha256:
        raise ArtifactDamaged(job_id, artifact.name, stored=artifact.sha256, came=came)


def _request(job_id: str, artifact: Artifact, have_b: int) -> Request:
    """Ask for what is missing, if it is still part of the same bytes: RFC 9110 section 13.1.5."""
    path = path_of("jobs", job_id, "artifacts", artifact.name)
    rest = {"Range": f"bytes={have_b}-", "If-Range": f'"{artifact.sha256}"'} if 0 < have_b < artifact.size_b else {}
    return Request("GET", path, headers={"Accept": "*/*"} | rest)
