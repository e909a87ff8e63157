"""What an API key looks like, when one is genuine, and what its holder may do.

A key is ``fm_<id>_<secret>``: the id, a ULID, finds its row; the secret, 32 random bytes in base64url, proves that the
sender knows it. Only the secret's SHA-256 is kept: 256 random bits cannot be guessed, so a slow hash would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace

from foreman.domain.job import JobRequest, Moment, Priority
from foreman.errors import PriorityNotAllowed

#: A key as its holder sends it: 26 letters of Crockford's base32, 43 of base64url.
_KEY = re.compile(r"fm_([0-7][0-9A-HJKMNP-TV-Z]{25})_([A-Za-z0-9_-]{43})", re.ASCII)

#: RFC 6750 section 2.1; the scheme's case does not matter, RFC 9110 section 11.1.
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,200}) *", re.IGNORECASE | re.ASCII)

#: What a key is compared with whose id is unknown, so that the answer takes as long: the digest of no secret.
NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the holder of a key may have at most; ``None``: as much as anybody."""

    #: Jobs in ``queued`` at once.
    max_queued: int | None = None
    #: The highest priority of a job.
    max_priority: Priority | None = None
    #: Jobs submitted within any 60 s.
    per_minute: int | None = None

    @property
    def is_counted(self) -> bool:
        """Whether jobs have to be counted before another one is accepted."""
        return self.max_queued is not None or self.per_minute is not None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept, without its secret."""

    id: str
    #: What it is for, as an operator calls it; not unique.
    name: str
    #: SHA-256 of the secret, hex.
    digest: str = field(repr=False)
    #: Whether it sees everybody's jobs and the routes of operators.
    admin: bool
    allowance: Allowance
    created_at: Moment
    #: From when on it is refused; ``None`` while it is good.
    revoked_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    #: What the caller's jobs are marked with: the id of the key, ``""`` where keys are off.
    owner: str
    #: Whether every job is the caller's to see, and every route to ask.
    sees_all: bool
    allowance: Allowance

    @property
    def view(self) -> str | None:
        """The owner whose jobs the caller sees; ``None``: everybody's."""
        return None if self.sees_all else self.owner


#: Who sends a request where keys are off.
ANYBODY = Caller("", sees_all=True, allowance=Allowance())


@dataclass(frozen=True, slots=True)
class Presented:
    """A key that somebody sent."""

    id: str
    secret: str = field(repr=False)


def presented(authorization: str) -> Presented | None:
    """The key in the header ``Authorization: Bearer …``; ``None`` if it holds none."""
    bearer = _BEARER.fullmatch(authorization)
    key = _KEY.fullmatch(bearer[1]) if bearer else None
    return None if key is None else Presented(key[1], key[2])


def written(key_id: str, secret: str) -> str:
    """The key as its holder sends it."""
    return f"fm_{key_id}_{secret}"


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def caller_of(given: Presented, key: ApiKey | None) -> Caller | None:
    """Who sent ``given``, whose id finds ``key``; ``None`` if it is not genuine, or no longer good.

    It takes as long for an id that is unknown, and whatever part of the secret is right.
    """
    genuine = hmac.compare_digest(digest_of(given.secret), NO_DIGEST if key is None else key.digest)
    return holder(key) if genuine else None


def holder(key: ApiKey | None) -> Caller | None:
    """Whoever has shown to hold ``key``; ``None`` if there is none such, or it is no longer good."""
    if key is None or key.revoked_at is not None:
        return None
    return Caller(key.id, sees_all=key.admin, allowance=key.allowance)


def within(allowance: Allowance, request: JobRequest, *, asked: bool) -> JobRequest:
    """``request`` as the caller may submit it; ``asked`` tells whether its priority was named.

    One that nobody named is lowered to the highest allowed: clients of other servers cannot say one.

    Raises:
        PriorityNotAllowed: the named one is higher.
    """
    highest = allowance.max_priority
    # The highest priority has the lowest number.
    if highest is None or request.priority >= highest:
        return request
    if asked:
        raise PriorityNotAllowed(highest.label)
    return replace(request, priority=highest)
