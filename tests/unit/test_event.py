from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from time import time
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain.event import event_body, event_headers, event_id
from foreman.domain.job import Artifact, Job, JobFailure, Limits, Priority
from foreman.domain.lifecycle import Cause, State
from foreman.domain.signature import parse_secrets
from foreman.errors import SettingInvalid

JOB_ID = "01JD0000000000000000000000"
AT = 1_764_000_000_123
RAW = b'{"message":{"content":"h\\u00e9 \xc3\xa9"},"eval_duration":12345678901234567890,"p":1.10}'
SECRET = "whsec_" + b64encode(b"0123456789abcdef01234567").decode()


def job(*states: State, **changes: Any) -> Job:
    """A job that went through ``states``, a second apart."""
    values: dict[str, Any] = {
        "id": JOB_ID,
        "state": states[-1],
        "model": "smollm2",
        "priority": Priority.NORMAL,
        "metadata": {"order": 7},
        "limits": Limits(86_400, None, 600, 3600, 300, None),
        "webhook": None,
        "attempt": 1,
        "created_at": AT,
        "reached": tuple((state, AT + 1000 * index) for index, state in enumerate(states)),
        "expires_at": None,
        "stats": None,
        "failure": None,
        "version": 1,
    }
    return Job(**(values | changes))


DONE = job(State.QUEUED, State.LOADING, State.WORKING, State.DONE, stats={"eval_count": 9, "done": True})


def completion(data: bytes | None = RAW, size_b: int = len(RAW)) -> Artifact:
    """The artifact of a completed job."""
    sha256 = hashlib.sha256(RAW).hexdigest()
    return Artifact(JOB_ID, "completion", "application/json", size_b, sha256, data)


def body_of(of: Job, *artifacts: Artifact, limit_b: int = 262_144) -> bytes:
    """The event's bytes."""
    return event_body(of, artifacts, public_url="https://foreman.example.com", inline_limit_b=limit_b)


def headers_of(body: bytes, setting: str, now: int = AT) -> dict[str, str]:
    """The headers of the second try of a ``done`` event."""
    return event_headers(
        event_id(JOB_ID, State.DONE),
        body,
        secrets=parse_secrets(setting),
        now=now,
        attempt=2,
        sequence=4,
        user_agent="foreman/1",
    )


def test_the_first_event_of_a_job_is_this() -> None:
    """The whole body of ``queued``, key by key."""
    assert body_of(job(State.QUEUED)) == (
        b'{"id":"01JD0000000000000000000000-queued","type":"job.queued","timestamp":"2025-11-24T16:00:00.123Z",'
        b'"job_id":"01JD0000000000000000000000","state":"queued","previous_state":null,"sequence":1,"terminal":false,'
        b'"model":"smollm2","metadata":{"order":7},"attempt":1,"error":null,'
        b'"history":[{"state":"queued","at":"2025-11-24T16:00:00.123Z"}],"result":null,"artifacts":[]}'
    )


def test_the_event_of_a_completed_job_tells_its_history_and_result() -> None:
    """Sequence, previous state, every state's moment, and the stats."""
    event = json.loads(body_of(DONE, completion()))
    assert (event["sequence"], event["previous_state"], event["terminal"]) == (4, "working", True)
    assert [step["state"] for step in event["history"]] == ["queued", "loading", "working", "done"]
    assert event["timestamp"] == event["history"][-1]["at"] == "2025-11-24T16:00:03.123Z"
    assert event["result"] == {"eval_count": 9, "done": True}


def test_an_inline_completion_keeps_its_own_bytes() -> None:
    """No number is rounded and no escape rewritten on the way to the receiver."""
    assert b'"inline":true,"data":' + RAW + b"}]}" in body_of(DONE, completion())


@pytest.mark.parametrize(("limit_b", "inline"), [(len(RAW), True), (len(RAW) - 1, False), (0, False)])
def test_the_inline_limit_decides_whether_a_completion_travels_along(limit_b: int, inline: bool) -> None:  # noqa: FBT001
    """At the limit it does, a byte over it only its URL does."""
    [artifact] = json.loads(body_of(DONE, completion(), limit_b=limit_b))["artifacts"]
    assert artifact["inline"] is inline
    assert ("data" in artifact) is inline
    assert artifact["url"] == f"https://foreman.example.com/jobs/{JOB_ID}/artifacts/completion"
    assert (artifact["size_b"], artifact["sha256"]) == (len(RAW), hashlib.sha256(RAW).hexdigest())


def test_a_completion_kept_elsewhere_goes_by_url() -> None:
    """What is not in the database is not fetched to be sent."""
    [artifact] = json.loads(body_of(DONE, completion(None, 5_000_000)))["artifacts"]
    assert artifact["inline"] is False


def test_the_event_of_a_failed_job_says_why() -> None:
    """The error as in GET, and no result."""
    failure = JobFailure(Cause.UPSTREAM_ERROR, "the upstream answered 500", 500)
    event = json.loads(body_of(job(State.QUEUED, State.FAILED, failure=failure), completion()))
    assert event["error"] == {
        "code": "upstream_error",
        "message": "the upstream answered 500",
        "retryable": True,
        "upstream_status": 500,
    }
    assert (event["previous_state"], event["result"], event["artifacts"]) == ("queued", None, [])


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.integers() | st.none()))
def test_any_metadata_comes_back_as_it_was(metadata: dict[str, Any]) -> None:
    """Text of any script, lone surrogates too, makes a body in UTF-8 that parses to the same."""
    body = body_of(job(State.QUEUED, metadata=metadata))
    assert json.loads(body.decode("utf-8"))["metadata"] == metadata


def test_the_headers_are_those_of_the_contract() -> None:
    """Every header of section 5, with a secret that is plain text."""
    body = b'{"a":1}'
    key = b"s3cret"
    signed = f"{JOB_ID}-done.1764000000.".encode() + body
    assert headers_of(body, "s3cret") == {
        "Content-Type": "application/json",
        "User-Agent": "foreman/1",
        "Idempotency-Key": f"{JOB_ID}-done",
        "webhook-id": f"{JOB_ID}-done",
        "webhook-timestamp": "1764000000",
        "webhook-signature": "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode(),
        "X-Foreman-Signature": "sha256=" + hmac.digest(key, body, "sha256").hex(),
        "X-Foreman-Attempt": "2",
        "X-Foreman-Sequence": "4",
    }


def test_without_a_secret_nothing_is_signed() -> None:
    """The headers that identify an event are there all the same."""
    headers = headers_of(b"{}", "")
    assert not {"X-Foreman-Signature", "webhook-signature"} & headers.keys()
    assert headers["webhook-id"] == headers["Idempotency-Key"]


@pytest.mark.parametrize("setting", [SECRET, f"new secret,{SECRET}"], ids=["one", "rotating"])
def test_the_standard_webhooks_package_accepts_our_signature(setting: str) -> None:
    """An implementation that is not ours verifies what we sign, also while a secret is being rotated."""
    body = body_of(DONE, completion())
    headers = headers_of(body, setting, now=int(time() * 1000))
    assert standardwebhooks.Webhook(SECRET).verify(body, headers)["state"] == "done"


def test_a_secret_being_rotated_signs_beside_the_old_one() -> None:
    """A receiver that knows either of the two can verify either header."""
    headers = headers_of(b"{}", "new, old")
    assert headers["X-Foreman-Signature"] == ",".join(
        "sha256=" + hmac.digest(key, b"{}", "sha256").hex() for key in (b"new", b"old")
    )
    assert len(headers["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize(
    ("setting", "keys"),
    [
        ("", ()),
        (" , ", ()),
        ("plain", (b"plain",)),
        ("pässword", ("pässword".encode(),)),
        ("correct horse", (b"correct horse",)),
        ("whsec_aGVsbG8=", (b"hello",)),
        ("whsec_aGVsbG8", (b"hello",)),
        (" new ,whsec_aGVsbG8=\n", (b"new", b"hello")),
    ],
)
def test_a_secret_is_text_or_base64(setting: str, keys: tuple[bytes, ...]) -> None:
    """``whsec_`` marks Base64 as in Standard Webhooks; commas separate secrets in rotation."""
    assert parse_secrets(setting) == keys


@pytest.mark.parametrize("setting", ["whsec_", "whsec_!", "whsec_abcde", "fine,whsec_ä"])
def test_a_broken_base64_secret_stops_the_start(setting: str) -> None:
    """The line names the setting and does not show the secret."""
    with pytest.raises(SettingInvalid) as caught:
        parse_secrets(setting)
    assert str(caught.value) == "webhook.secret: must have Base64 after whsec_"


def test_an_event_id_holds_no_dot() -> None:
    """Standard Webhooks signs ``id.timestamp.body``, which a dot in the id would make ambiguous."""
    assert all("." not in event_id(JOB_ID, state) for state in State)
