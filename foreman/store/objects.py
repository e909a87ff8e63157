"""The bytes of large artifacts, through obstore: a local directory, S3, GCS or Azure behind one URL."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from foreman.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Size of the pieces in which an object is read, bytes: what one reader holds in memory.
CHUNK_B = 256 * 1024

#: How long a remote store may take before it counts as away: without bounds, one that never answers holds a thread for
#: minutes. The upload of the largest completion, 64 MiB, takes some seconds on a network made for it. Whether HTTP is
#: spoken in the clear is for the endpoint to say, which only an operator can name (``AWS_ENDPOINT_URL``).
REMOTE: Any = {
    "client_options": {"connect_timeout": "3s", "timeout": "30s", "allow_http": True},
    "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=30)},
}


class Objects:
    """An object store at ``url``: ``file:///directory`` (made if need be), ``s3://bucket/prefix``, ``gs://``, ``az://``.

    Credentials, endpoint and region of a remote one are in the environment, under the names that its own clients use
    (``AWS_ACCESS_KEY_ID`` and so on), or come from the machine's role; obstore reads them.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._directory = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._store = (
            # Cleaned up, or each pruned job would leave an empty directory behind.
            LocalStore(self._directory, mkdir=True, automatic_cleanup=True)
            if self._directory
            else from_url(url, **REMOTE)
        )

    def put(self, job_id: str, name: str, data: bytes) -> str:
        """Store ``data`` whole or not at all and return its location; what was there under that name is replaced.

        On a local directory the bytes are on the disk when this returns, not only in its cache: the row that held them
        is about to be emptied.

        Raises:
            ArtifactStoreUnavailable: nothing was stored; try again.
        """
        location = location_of(job_id, name)
        try:
            self._store.put(location, data)
            if self._directory is not None:
                _sync(self._directory / location)
        except (BaseError, OSError) as error:
            raise ArtifactStoreUnavailable(type(error).__name__) from error
        return location

    def read(self, location: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to, not including, ``end``, in pieces of at most ``CHUNK_B``.

        Raises:
            FileNotFoundError: there is no such object (any more).
            ArtifactStoreUnavailable: it cannot be read now.
        """
        for offset in range(start, end, CHUNK_B):
            try:
                piece = self._store.get_range(location, start=offset, end=min(end, offset + CHUNK_B))
            except FileNotFoundError:
                raise
            except (BaseError, OSError) as error:
                raise ArtifactStoreUnavailable(type(error).__name__) from error
            yield bytes(piece)

    def delete(self, locations: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error. A remote store is asked once for all it can take.

        Raises:
            ArtifactStoreUnavailable: some may be left; call again.
        """
        try:
            self._delete(locations)
        except (BaseError, OSError) as error:
            raise ArtifactStoreUnavailable(type(error).__name__) from error

    def probe(self) -> None:
        """Look whether the store answers.

        Raises:
            ArtifactStoreUnavailable: it does not.
        """
        try:
            if self._directory is not None:
                if not os.access(self._directory, os.W_OK):
                    raise ArtifactStoreUnavailable("NotWritable")
            else:
                # Where nothing is: a page of a thousand names would be sent for each look.
                next(iter(self._store.list(prefix="probe", chunk_size=1)), None)
        except (BaseError, OSError) as error:
            raise ArtifactStoreUnavailable(type(error).__name__) from error

    def _delete(self, locations: Sequence[str]) -> None:
        try:
            if locations:
                self._store.delete(list(locations))
        except FileNotFoundError:
            # The stores that mind do not say which.
            for location in locations:
                with suppress(FileNotFoundError):
                    self._store.delete(location)


def location_of(job_id: str, name: str) -> str:
    """Where the object of an artifact lies."""
    # By the end of the id, which is random: one directory does not grow with the number of jobs.
    return f"{job_id[-2:]}/{job_id}/{name}"


def _sync(path: Path) -> None:
    """Put a new file and its directory entries on the disk."""
    for each in (path, path.parent, path.parent.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
