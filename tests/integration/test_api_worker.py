from __future__ import annotations

import json
import re

import pytest
from gunicorn.http import errors  # type: ignore[import-untyped]

from foreman.api.worker import answer_to


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.InvalidRequestLine("<x>"), 400, "bad-request"),
        (errors.InvalidHeader("Secret: x"), 400, "bad-request"),
        (errors.InvalidChunkSize(b"zz"), 400, "bad-request"),
        (errors.UnsupportedTransferCoding("x"), 400, "unsupported-transfer-coding"),
        (errors.LimitRequestLine(9999, 4094), 414, "uri-too-long"),
        (errors.LimitRequestHeaders("x"), 431, "headers-too-large"),
        (errors.ExpectationFailed("x"), 417, "expectation-failed"),
        (errors.InvalidResponseHeader("x"), 500, "internal"),
        (RuntimeError("/etc/secret"), 500, "internal"),
    ],
)
def test_what_never_became_a_request_is_answered_as_a_problem(error: Exception, status: int, name: str) -> None:
    """In the form of all other errors, and without a word of what was sent or what went wrong inside."""
    head, _, body = answer_to(error).partition(b"\r\n\r\n")
    told = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (told["status"], told["type"]) == (status, f"urn:foreman:problem:{name}")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(body)
    assert b"Content-Type: application/problem+json\r\n" in head
    assert b"secret" not in body.lower()
