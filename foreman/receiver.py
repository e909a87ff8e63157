"""For whoever receives foreman's webhooks: one call from a request to the event that it brings, or to what is wrong.

It needs nothing of foreman but its domain. What it raises::

    ForemanError
    └── NotBelieved         answer 401 or 400, and do nothing
        ├── Unsigned        no signature, or none that covers the time
        ├── WrongSignature  made with another secret, or changed on the way
        ├── WrongTime       a recording, or one of the clocks is wrong
        └── NotAnEvent      genuine, and nothing that can be read
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import DecodeError, Struct, json

from foreman import clock
from foreman.domain.lifecycle import State
from foreman.domain.signature import Wrong, flaw, parse_secrets
from foreman.errors import ForemanError

#: Seconds between the time of a try and now that Standard Webhooks' own libraries allow.
TOLERANCE_S = 300.0


@runtime_checkable
class _Items(Protocol):
    """What header objects of web frameworks have, whatever else they are."""

    def items(self) -> Iterable[tuple[str, str]]: ...


#: As a framework has them, names in any case: an object with ``items``, or ASGI's pairs of bytes.
Headers: TypeAlias = _Items | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]


class Failure(Struct, frozen=True, kw_only=True):
    """Why the job failed; ``retryable``: the same submission may well succeed."""

    code: str
    message: str = ""
    retryable: bool = False
    upstream_status: int | None = None


class Reached(Struct, frozen=True, kw_only=True):
    """A state that the job has come to, and when."""

    state: State
    at: datetime


class Artifact(Struct, frozen=True, kw_only=True):
    """What a job that is done left. ``data`` is there if it is ``inline``; else fetch ``url``, compare ``sha256``."""

    name: str
    content_type: str
    size_b: int
    sha256: str
    url: str
    inline: bool = False
    data: Any = None


class Event(Struct, frozen=True, kw_only=True):
    """What was delivered: a ``JobEvent``, or of ``type`` ``ping``, or of a type that is newer than this receiver.

    ``id`` is what to dedupe on.
    """

    id: str
    type: str
    timestamp: datetime


class JobEvent(Event, frozen=True, kw_only=True):
    """A job came to ``state``. An event of a lower ``sequence`` than one that you have had comes late: old news."""

    job_id: str
    state: State
    sequence: int
    terminal: bool
    model: str
    previous_state: State | None = None
    metadata: dict[str, Any] = {}
    attempt: int = 0
    error: Failure | None = None
    history: tuple[Reached, ...] = ()
    #: The upstream's stats of a job that is done; its text is in the artifact ``completion``.
    result: dict[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()


class NotBelieved(ForemanError):
    """The request is not to be acted upon; ``detail`` says why, and holds no secret."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unsigned(NotBelieved):
    """Nothing vouches for it."""


class WrongSignature(NotBelieved):
    """A signature is there, and it is not that of this request by any of the secrets."""


class WrongTime(NotBelieved):
    """It was signed at another time than now."""


class NotAnEvent(NotBelieved):
    """It is genuine, and not what foreman sends, as far as this receiver knows."""


_ERRORS: Mapping[Wrong, type[NotBelieved]] = {
    Wrong.UNSIGNED: Unsigned,
    Wrong.SIGNATURE: WrongSignature,
    Wrong.TIME: WrongTime,
}


def verify(
    headers: Headers,
    body: bytes,
    secrets: str | Iterable[str],
    tolerance_s: float | None = TOLERANCE_S,
    *,
    now_s: float | None = None,
) -> Event:
    """The event in a request, once both signatures have been checked; ``body`` is as it came, not parsed and written.

    ``secrets`` are one or more, as in foreman's ``webhook.secret``: text, or ``whsec_`` and Base64; each of several may
    be the one that signed, so that one can be replaced by another without losing an event. ``tolerance_s`` is how far
    the time of the try may be from ``now_s`` (Unix seconds, by default the clock's); ``None``: any time will do.

    Raises:
        NotBelieved: see the tree on top.
        ValueError: there is no secret among ``secrets``.
        SettingInvalid: a ``whsec_`` without Base64 after it.
    """
    keys = parse_secrets(secrets if isinstance(secrets, str) else ",".join(secrets))
    if not keys:
        raise ValueError("there is no secret to verify with")
    now = clock.now() if now_s is None else round(now_s * 1000)
    found = flaw(_plain(headers), body, keys, now=now, tolerance_s=tolerance_s)
    if found is not None:
        raise _ERRORS[found.wrong](found.detail)
    try:
        event = json.decode(body, type=Event)
        return json.decode(body, type=JobEvent) if event.type.startswith("job.") else event
    except DecodeError as error:
        raise NotAnEvent(str(error)) from error


def _plain(headers: Headers) -> dict[str, str]:
    """Headers by their names in lower case; one that is there twice is one with both values, RFC 9110 section 5.3."""
    found: dict[str, str] = {}
    for given in headers.items() if isinstance(headers, _Items) else headers:
        name, value = (each.decode("latin-1") if isinstance(each, bytes) else each for each in given)
        found[name.lower()] = f"{found[name.lower()]},{value}" if name.lower() in found else value
    return found
