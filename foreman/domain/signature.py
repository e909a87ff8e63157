"""How an event is signed and how a signature is judged, in both schemes that foreman sends. Contract section 5.

``webhook-signature``, Standard Webhooks, covers id, time and body; ``X-Foreman-Signature`` the body alone.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from foreman.domain.job import Moment
from foreman.errors import SettingInvalid

#: What a secret in Base64 begins with: Standard Webhooks, "Signature scheme", https://www.standardwebhooks.com.
_BASE64_PREFIX = "whsec_"

#: Digits of a time that are looked at: Unix seconds have 10 until the year 2286.
_MOST_DIGITS = 12


class Wrong(Enum):
    """What is wrong with a delivery."""

    #: It has no signature, or none that covers what is to be believed.
    UNSIGNED = auto()
    #: It was not made with any of the secrets, or what it covers has been changed since.
    SIGNATURE = auto()
    #: It is genuine, and too old or too new: it may be a recording, or one of the clocks is wrong.
    TIME = auto()


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a delivery is not to be believed; ``detail`` for people, without any secret."""

    wrong: Wrong
    detail: str


def sign(event_id: str, seconds: str, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The two headers, with a signature of each secret in both; none without ``secrets``. ``seconds``: Unix time."""
    if not secrets:
        return {}
    return {
        "X-Foreman-Signature": ",".join(_of_body(secret, body) for secret in secrets),
        "webhook-signature": " ".join(_of_message(secret, event_id, seconds, body) for secret in secrets),
    }


def flaw(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, now: Moment, tolerance_s: float | None
) -> Flaw | None:
    """What is wrong with a delivery; ``None``: it is genuine. Names in ``headers`` are in lower case.

    Every scheme that is there must be right by one of ``secrets``. ``tolerance_s`` is how far the time of the try may
    be from ``now``: it takes ``webhook-signature``, since the other does not sign the time. ``None``: any time will do.
    """
    of_body, of_message = headers.get("x-foreman-signature"), headers.get("webhook-signature")
    if of_body is None and of_message is None:
        return Flaw(Wrong.UNSIGNED, "there is no signature; foreman signs where webhook.secret is set")
    if of_body is not None and not _any(of_body.split(","), (_of_body(secret, body) for secret in secrets)):
        return Flaw(Wrong.SIGNATURE, "X-Foreman-Signature is not that of the body by any of the secrets")
    if of_message is None:
        wanted = "its time is not signed, since there is no webhook-signature"
        return None if tolerance_s is None else Flaw(Wrong.UNSIGNED, wanted)
    event_id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _any(of_message.split(), (_of_message(secret, event_id, seconds, body) for secret in secrets)):
        return Flaw(Wrong.SIGNATURE, "webhook-signature is not that of id, time and body by any of the secrets")
    return None if tolerance_s is None else _flaw_in_time(seconds, now, tolerance_s)


def parse_secrets(setting: str) -> tuple[bytes, ...]:
    """The keys in ``webhook.secret``, which holds none, one, or during a rotation several separated by commas.

    ``whsec_X`` is the bytes b64decode(X), padding optional; anything else its UTF-8 bytes. White space around a secret
    is dropped.

    Raises: SettingInvalid for a ``whsec_`` without Base64 after it. The secret is not in the message.
    """
    return tuple(_key(secret.strip()) for secret in setting.split(",") if secret.strip())


def _flaw_in_time(seconds: str, now: Moment, tolerance_s: float) -> Flaw | None:
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= _MOST_DIGITS):
        return Flaw(Wrong.TIME, "webhook-timestamp is not a number of Unix seconds")
    age_s = now / 1000 - int(seconds)
    if abs(age_s) <= tolerance_s:
        return None
    side = f"{age_s:.0f} s old" if age_s > 0 else f"{-age_s:.0f} s in the future"
    return Flaw(Wrong.TIME, f"the try is {side}, and {tolerance_s:g} s are allowed")


def _any(given: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether one of them is one of those, without telling by the time it takes how much of one is right."""
    sent = [each.strip().encode("utf-8", "surrogatepass") for each in given]
    return any(hmac.compare_digest(right.encode(), each) for right in wanted for each in sent)


def _of_body(secret: bytes, body: bytes) -> str:
    return f"sha256={_hmac(secret, body).hex()}"


def _of_message(secret: bytes, event_id: str, seconds: str, body: bytes) -> str:
    """Standard Webhooks, "Signature scheme"."""
    message = f"{event_id}.{seconds}.".encode("utf-8", "surrogatepass") + body
    return f"v1,{b64encode(_hmac(secret, message)).decode()}"


def _key(secret: str) -> bytes:
    if not secret.startswith(_BASE64_PREFIX):
        return secret.encode("utf-8", "surrogateescape")  # the very bytes of an environment that is not UTF-8
    text = secret.removeprefix(_BASE64_PREFIX).rstrip("=")
    try:
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise SettingInvalid("webhook.secret", "must have Base64 after whsec_")
    return key


def _hmac(secret: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, message, "sha256")
