"""Makes API keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from foreman import clock
from foreman.domain.api_key import Allowance, ApiKey, digest_of, written
from foreman.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key; ``text`` is what its holder sends, known here and never again."""

    key: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issuer:
    """What ``foreman keys create`` does."""

    keys: Keys

    def issue(self, name: str, allowance: Allowance, *, admin: bool) -> Issued:
        """Make a key and commit it.

        Raises:
            StoreUnavailable: there is no key.
        """
        secret = clock.new_secret()
        key = ApiKey(clock.new_id(), name, digest_of(secret), admin, allowance, clock.now())
        self.keys.add(key)
        return Issued(key, written(key.id, secret))
