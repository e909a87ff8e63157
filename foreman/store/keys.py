"""The table of API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foreman.domain.api_key import Allowance, ApiKey
from foreman.domain.job import Moment, Priority
from foreman.store.database import read, write
from foreman.store.models import ApiKeyRow
from foreman.store.prepared import Statement


class Keys:
    """API keys, for whoever makes, checks or revokes them."""

    def add(self, key: ApiKey) -> None:
        """Commit a new key."""
        allowance = key.allowance
        with write():
            ApiKeyRow.insert(
                id=key.id,
                name=key.name,
                digest=key.digest,
                admin=key.admin,
                created_at=key.created_at,
                revoked_at=key.revoked_at,
                max_queued=allowance.max_queued,
                max_priority=allowance.max_priority,
                per_minute=allowance.per_minute,
            ).execute()

    def find(self, key_id: str) -> ApiKey | None:
        """The key with this id, revoked or not."""
        with read():
            row = _BY_ID.first(key_id=key_id)
        return None if row is None else _from_row(row)

    def all(self) -> Sequence[ApiKey]:
        """Every key, oldest first."""
        with read():
            return [_from_row(row) for row in ApiKeyRow.select().order_by(ApiKeyRow.created_at, ApiKeyRow.id)]

    def any_good(self) -> bool:
        """Whether there is a key that is not revoked."""
        with read():
            return bool(ApiKeyRow.select().where(ApiKeyRow.revoked_at.is_null()).exists())

    def revoke(self, key_id: str, at: Moment) -> ApiKey | None:
        """Refuse the key from now on, and return it; None: there is none. One revoked before keeps its moment."""
        good = (ApiKeyRow.id == key_id) & ApiKeyRow.revoked_at.is_null()
        with write():
            ApiKeyRow.update(revoked_at=at).where(good).execute()
            row = _BY_ID.first(key_id=key_id)
        return None if row is None else _from_row(row)


#: Run for every request.
_BY_ID = Statement(lambda given: ApiKeyRow.select().where(ApiKeyRow.id == given.key_id))


def _from_row(row: Any) -> ApiKey:  # noqa: ANN401  (a model's or a statement's)
    priority = row.max_priority
    return ApiKey(
        id=row.id,
        name=row.name,
        digest=row.digest,
        admin=bool(row.admin),
        allowance=Allowance(row.max_queued, None if priority is None else Priority(priority), row.per_minute),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
