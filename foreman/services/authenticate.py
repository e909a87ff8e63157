"""Tells who sends a request: by the API key that comes with it, or by the sign-in that a key began."""

from __future__ import annotations

from dataclasses import dataclass

from foreman import clock
from foreman.domain.api_key import Caller, caller_of, digest_of, holder, presented
from foreman.domain.session import LIFE_MS, Session
from foreman.store.keys import Keys
from foreman.store.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Asks the database each time: a key that is revoked stops with its next request, and so does what it began."""

    keys: Keys
    sessions: Sessions

    def caller(self, authorization: str) -> Caller | None:
        """Who sends a request with this header ``Authorization``; ``None``: nobody that is known.

        Raises:
            StoreUnavailable: it cannot be told now.
        """
        given = presented(authorization)
        return None if given is None else caller_of(given, self.keys.find(given.id))

    def sign_in(self, key: str) -> str | None:
        """Begin a session with a key as its holder has it; returns the token for the browser, ``None``: no good key.

        Raises:
            StoreUnavailable: nothing was begun.
        """
        caller = self.caller(f"Bearer {key}")
        if caller is None:
            return None
        token, now = clock.new_secret(), clock.now()
        self.sessions.add(digest_of(token), Session(caller.owner, now + LIFE_MS), now)
        return token

    def signed_in(self, token: str) -> Caller | None:
        """Who holds this token; ``None``: nobody, or no longer.

        Raises:
            StoreUnavailable: it cannot be told now.
        """
        session = self.sessions.find(digest_of(token))
        if session is None or session.expires_at <= clock.now():
            return None
        return holder(self.keys.find(session.key_id))

    def sign_out(self, token: str) -> None:
        """End a session, if there is one.

        Raises:
            StoreUnavailable: it goes on.
        """
        self.sessions.remove(digest_of(token))
