"""What a webhook receiver gets: the event's body, built once, and the headers that sign each try. Contract section 5.

Body::

    {"id": "<job_id>-<state>", "type": "job.<state>", "timestamp", "job_id", "state", "previous_state", "sequence",
     "terminal", "model", "metadata", "attempt", "error", "history": [{"state", "at"}], "result",
     "artifacts": [{"name", "content_type", "size_b", "sha256", "url", "inline", "data"?}]}

and that of a ping, which no job sends::

    {"id": "ping-<ulid>", "type": "ping", "timestamp"}
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from foreman.domain.job import Artifact, Job, Moment
from foreman.domain.lifecycle import TERMINAL, State
from foreman.domain.moment import rfc3339
from foreman.errors import SettingInvalid

#: What a secret in Base64 begins with: Standard Webhooks, "Signature scheme", https://www.standardwebhooks.com.
_BASE64_PREFIX = "whsec_"


def event_id(job_id: str, state: State) -> str:
    """What a receiver dedupes on, the same on every try; without ``.``, as Standard Webhooks signs ``id.time.body``."""
    return f"{job_id}-{state}"


def event_body(job: Job, artifacts: Sequence[Artifact], *, public_url: str, inline_limit_b: int) -> bytes:
    """The event of the state that ``job`` has just reached, as compact JSON in UTF-8.

    ``artifacts`` are those of a job that is ``done``; one of at most ``inline_limit_b`` bytes travels along, its own
    bytes untouched, so that no number is rounded on the way. ``public_url`` is what their URLs begin with.

    Raises: ValueError if the job's metadata or stats hold NaN or an infinity, which JSON has no words for.
    """
    before = job.reached[-2][0] if len(job.reached) > 1 else None
    head = {
        "id": event_id(job.id, job.state),
        "type": f"job.{job.state}",
        "timestamp": rfc3339(job.reached[-1][1]),
        "job_id": job.id,
        "state": job.state,
        "previous_state": before,
        "sequence": len(job.reached),
        "terminal": job.state in TERMINAL,
        "model": job.model,
        "metadata": job.metadata,
        "attempt": job.attempt,
        "error": job.failure.as_json() if job.failure else None,
        "history": [{"state": state, "at": rfc3339(at)} for state, at in job.reached],
        "result": job.stats if job.state is State.DONE else None,
    }
    listed = artifacts if job.state is State.DONE else ()
    attached = b",".join(_artifact(each, public_url, inline_limit_b) for each in listed)
    return _dump(head)[:-1] + b',"artifacts":[' + attached + b"]}"


def ping_id(ulid: str) -> str:
    """The id of one ping."""
    return f"ping-{ulid}"


def ping_body(event_id: str, now: Moment) -> bytes:
    """The body of a ping sent ``now``."""
    return _dump({"id": event_id, "type": "ping", "timestamp": rfc3339(now)})


def event_headers(  # noqa: PLR0913  one argument for each thing the contract's table of headers is made of
    event_id: str,
    body: bytes,
    *,
    secrets: Sequence[bytes],
    now: Moment,
    attempt: int,
    sequence: int,
    user_agent: str,
) -> dict[str, str]:
    """The headers of one try at ``now``, ``attempt`` from 1; without ``secrets`` those of a signature are left out.

    Several secrets, while one is being rotated, give a signature each, the first secret's first.
    """
    seconds = str(now // 1000)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": user_agent,
        "Idempotency-Key": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": seconds,
        "X-Foreman-Attempt": str(attempt),
        "X-Foreman-Sequence": str(sequence),
    }
    if secrets:
        signed = f"{event_id}.{seconds}.".encode() + body
        headers["X-Foreman-Signature"] = ",".join(f"sha256={_hmac(secret, body).hex()}" for secret in secrets)
        headers["webhook-signature"] = " ".join(f"v1,{b64encode(_hmac(secret, signed)).decode()}" for secret in secrets)
    return headers


def parse_secrets(setting: str) -> tuple[bytes, ...]:
    """The keys in ``webhook.secret``, which holds none, one, or during a rotation several separated by commas.

    ``whsec_X`` is the bytes b64decode(X), padding optional; anything else its UTF-8 bytes. White space around a secret
    is dropped.

    Raises: SettingInvalid for a ``whsec_`` without Base64 after it. The secret is not in the message.
    """
    return tuple(_key(secret.strip()) for secret in setting.split(",") if secret.strip())


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


def _artifact(artifact: Artifact, public_url: str, inline_limit_b: int) -> bytes:
    inline = artifact.data is not None and artifact.size_b <= inline_limit_b
    listed = {
        "name": artifact.name,
        "content_type": artifact.content_type,
        "size_b": artifact.size_b,
        "sha256": artifact.sha256,
        "url": f"{public_url}/jobs/{artifact.job_id}/artifacts/{artifact.name}",
        "inline": inline,
    }
    if artifact.data is None or not inline:
        return _dump(listed)
    return _dump(listed)[:-1] + b',"data":' + artifact.data + b"}"


def _dump(value: dict[str, Any]) -> bytes:
    """Compact JSON; a lone surrogate, which UTF-8 cannot hold, is escaped, and its escape is the one that JSON has."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _hmac(secret: bytes, message: bytes) -> bytes:
    return hmac.new(secret, message, hashlib.sha256).digest()
