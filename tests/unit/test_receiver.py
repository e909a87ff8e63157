from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message

import pytest
from standardwebhooks import Webhook

from foreman.domain.event import event_headers, ping_body
from foreman.domain.signature import parse_secrets, sign
from foreman.receiver import (
    Event,
    JobEvent,
    NotAnEvent,
    NotBelieved,
    Unsigned,
    WrongSignature,
    WrongTime,
    verify,
)

NOW_S = 1_795_493_334
ID = "01M85VW3NCMASR2TMX7H7DCM6B"
AT = "2026-11-24T04:08:54.847Z"
TOLD = {
    "id": f"{ID}-done",
    "type": "job.done",
    "timestamp": AT,
    "job_id": ID,
    "state": "done",
    "previous_state": "working",
    "sequence": 4,
    "terminal": True,
    "model": "m",
    "metadata": {"order": 17},
    "attempt": 1,
    "error": None,
    "history": [{"state": "queued", "at": AT}],
    "result": {"eval_count": 3},
    "artifacts": [
        {
            "name": "completion",
            "content_type": "application/json",
            "size_b": 2,
            "sha256": "00",
            "url": "https://foreman.example.com/",
            "inline": True,
            "data": {"message": {"content": "Hi"}},
        }
    ],
    "news": "of a newer foreman",
}
BODY = json.dumps(TOLD).encode()


def signed(setting: str = "s3cret", body: bytes = BODY, at_s: int = NOW_S) -> dict[str, str]:
    """The headers of a try as foreman sends them."""
    return event_headers(
        f"{ID}-done", body, secrets=parse_secrets(setting), now=at_s * 1000, attempt=1, sequence=4, user_agent="foreman"
    )


def without(headers: Mapping[str, str], name: str) -> dict[str, str]:
    """All but one of them."""
    return {each: value for each, value in headers.items() if each != name}


def test_an_event_comes_with_all_that_was_told() -> None:
    """Members have types, what a newer foreman adds is passed over, and what was generated is at hand."""
    event = verify(signed(), BODY, "s3cret", now_s=NOW_S)
    assert isinstance(event, JobEvent)
    assert (event.id, event.state, event.sequence, event.terminal) == (f"{ID}-done", "done", 4, True)
    assert event.artifacts[0].data["message"]["content"] == "Hi"
    assert event.history[0].state == "queued"


def test_a_ping_is_an_event_of_no_job() -> None:
    """It is verified like any other; so is a type that this receiver does not know yet."""
    for body in (ping_body(f"{ID}-done", NOW_S * 1000), json.dumps({**TOLD, "type": "queue.full"}).encode()):
        event = verify(signed(body=body), body, "s3cret", now_s=NOW_S)
        assert type(event) is Event


@pytest.mark.parametrize("setting", ["s3cret", "whsec_aGVsbG8", "new,s3cret", "s3cret,whsec_aGVsbG8"])
@pytest.mark.parametrize("known", [["s3cret", "whsec_aGVsbG8="], "whsec_aGVsbG8=, s3cret"])
def test_a_secret_can_be_replaced_without_losing_an_event(setting: str, known: list[str] | str) -> None:
    """Either side may have several; one that both have is enough."""
    assert verify(signed(setting), BODY, known, now_s=NOW_S).id == f"{ID}-done"


@pytest.mark.parametrize(
    ("headers", "body", "error", "detail"),
    [
        ({}, BODY, Unsigned, "there is no signature"),
        (signed("another"), BODY, WrongSignature, "X-Foreman-Signature is not"),
        (signed(), BODY.replace(b"17", b"18"), WrongSignature, "X-Foreman-Signature is not"),
        (without(signed("another"), "X-Foreman-Signature"), BODY, WrongSignature, "webhook-signature is not"),
        (signed() | {"webhook-id": f"{ID}-failed"}, BODY, WrongSignature, "webhook-signature is not"),
        (signed() | {"webhook-timestamp": str(NOW_S + 1)}, BODY, WrongSignature, "webhook-signature is not"),
        (without(signed(), "webhook-id"), BODY, WrongSignature, "webhook-signature is not"),
        (signed() | {"X-Foreman-Signature": "sha256=é"}, BODY, WrongSignature, "X-Foreman-Signature is not"),
        (without(signed(), "webhook-signature"), BODY, Unsigned, "its time is not signed"),
        (signed(at_s=NOW_S - 301), BODY, WrongTime, "the try is 301 s old, and 300 s are allowed"),
        (signed(at_s=NOW_S + 400), BODY, WrongTime, "the try is 400 s in the future, and 300 s are allowed"),
        (
            {"webhook-id": "i", "webhook-timestamp": "soon"} | sign("i", "soon", BODY, (b"s3cret",)),
            BODY,
            WrongTime,
            "webhook-timestamp is not a number",
        ),
        (signed(body=b"[]"), b"[]", NotAnEvent, "Expected `object`"),
        (signed(body=b"\xff"), b"\xff", NotAnEvent, ""),
    ],
)
def test_what_is_not_to_be_believed_says_why(
    headers: dict[str, str], body: bytes, error: type[NotBelieved], detail: str
) -> None:
    """Each flaw is an error of its own, and its text is for whoever sets the receiver up."""
    with pytest.raises(NotBelieved) as found:
        verify(headers, body, "s3cret", now_s=NOW_S)
    assert type(found.value) is error
    assert found.value.detail.startswith(detail)
    assert "s3cret" not in str(found.value)


def test_what_the_standards_own_library_signs_is_believed() -> None:
    """The scheme is Standard Webhooks', not one that only foreman's two ends agree on."""
    secret = "whsec_aGVsbG8gaGVsbG8gaGVsbG8gaGVsbG8="
    at = datetime.fromtimestamp(NOW_S, UTC)
    signature = Webhook(secret).sign(f"{ID}-done", at, BODY.decode())
    headers = {"webhook-id": f"{ID}-done", "webhook-timestamp": str(NOW_S), "webhook-signature": signature}
    assert verify(headers, BODY, secret, now_s=NOW_S).id == TOLD["id"]


def test_the_edge_of_the_tolerance_is_inside() -> None:
    """300 s in either direction are good, and without a tolerance any time is, signed or not."""
    for at_s in (NOW_S - 300, NOW_S + 300):
        assert verify(signed(at_s=at_s), BODY, "s3cret", now_s=NOW_S).id == TOLD["id"]
    for headers in (signed(at_s=0), without(signed(at_s=0), "webhook-signature")):
        assert verify(headers, BODY, "s3cret", None, now_s=NOW_S).id == TOLD["id"]


def test_headers_are_taken_as_any_framework_has_them() -> None:
    """Names in any case; a mapping, a message of the standard library, or ASGI's pairs of bytes."""
    message = Message()
    for name, value in signed().items():
        message[name.upper()] = value
    pairs = [(name.lower().encode(), value.encode()) for name, value in signed().items()]
    for headers in (signed(), message, pairs, list(signed().items())):
        assert verify(headers, BODY, "s3cret", now_s=NOW_S).id == TOLD["id"]
    with pytest.raises(WrongSignature):
        verify([*pairs, (b"webhook-id", b"another")], BODY, "s3cret", now_s=NOW_S)


@pytest.mark.parametrize("secrets", ["", " , ", []])
def test_a_receiver_without_a_secret_is_a_mistake_not_a_free_pass(secrets: str | list[str]) -> None:
    """Nothing is believed because a variable was empty."""
    with pytest.raises(ValueError, match="no secret"):
        verify(signed(""), BODY, secrets, now_s=NOW_S)
