"""The table of sign-ins to the page."""

from __future__ import annotations

from foreman.domain.job import Moment
from foreman.domain.session import Session
from foreman.store.database import read, write
from foreman.store.models import SessionRow
from foreman.store.prepared import Statement


class Sessions:
    """Sign-ins, by the digest of the token that a browser holds."""

    def add(self, digest: str, session: Session, now: Moment) -> None:
        """Commit a new one, and delete those that are over."""
        with write():
            SessionRow.delete().where(SessionRow.expires_at <= now).execute()
            SessionRow.insert(digest=digest, key_id=session.key_id, expires_at=session.expires_at).execute()

    def find(self, digest: str) -> Session | None:
        """The one of this token, over or not."""
        with read():
            row = _BY_DIGEST.first(digest=digest)
        return None if row is None else Session(row.key_id, row.expires_at)

    def remove(self, digest: str) -> None:
        """End it."""
        with write():
            SessionRow.delete().where(SessionRow.digest == digest).execute()


#: Run for every request of a page.
_BY_DIGEST = Statement(lambda given: SessionRow.select().where(SessionRow.digest == given.digest))
