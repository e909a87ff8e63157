"""Tells who sends a request by the API key that comes with it."""

from __future__ import annotations

from dataclasses import dataclass

from foreman.domain.api_key import Caller, caller_of, presented
from foreman.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Asks the database each time: a key that is revoked stops with its next request."""

    keys: Keys

    def caller(self, authorization: str) -> Caller | None:
        """Who sends a request with this header ``Authorization``; ``None``: nobody that is known.

        Raises:
            StoreUnavailable: it cannot be told now.
        """
        given = presented(authorization)
        return None if given is None else caller_of(given, self.keys.find(given.id))
