"""What ``POST /jobs`` refuses, and that nothing of it is half done."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize  # type: ignore[import-untyped]  # it ships no types

from foreman.api.body import MAX_DISCARDED_B, PIECE_B
from tests.integration.api import BODY, MAX_BODY_B, Api, running_api

HOOK = "https://example.com/hook"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


#: A body, the status it is answered with, and the pointers of its problems.
BAD_BODIES: list[tuple[Any, int, list[str]]] = [
    # Not JSON.
    (b"", 400, []),
    (b" ", 400, []),
    (b"{", 400, []),
    (b"}", 400, []),
    (b"nope", 400, []),
    (b"{'model': 'm'}", 400, []),
    (b'{"model": "m",}', 400, []),
    (b'{"model": "m"} x', 400, []),
    (b'{"model": NaN}', 400, []),
    (b'{"model": Infinity}', 400, []),
    (b'{"model": -Infinity}', 400, []),
    (b'{"model": "a\nb"}', 400, []),
    (b'{"model": "\xff"}', 400, []),
    (b'{"model": "\xed\xa0\x80"}', 400, []),
    (b"\x00", 400, []),
    (b"\x1f\x8b\x08", 400, []),
    (json.dumps(BODY).encode("utf-16"), 400, []),
    (b"[" * 9000 + b"]" * 9000, 400, []),
    (b'{"model":' * 1500 + b"1" + b"}" * 1500, 400, []),
    (b"[" * 15000, 400, []),
    (b'{"seed": ' + b"9" * 5000 + b"}", 400, []),
    # JSON, and not a job.
    (b"null", 422, [""]),
    (b"[]", 422, [""]),
    (b"1", 422, [""]),
    (b'"model"', 422, [""]),
    (b"true", 422, [""]),
    (b"[" * 200 + b"]" * 200, 422, [""]),
    ({}, 422, ["/model", "/messages"]),
    ({"model": None, "messages": None}, 422, ["/model", "/messages"]),
    (BODY | {"model": ""}, 422, ["/model"]),
    (BODY | {"model": 1}, 422, ["/model"]),
    (BODY | {"model": ["m"]}, 422, ["/model"]),
    (BODY | {"model": "m" * 1000}, 422, ["/model"]),
    (BODY | {"model": "a\u0000b"}, 422, ["/model"]),
    (b'{"model": "\\ud800", "messages": []}', 422, ["/model"]),
    (b'{"model": "m", "messages": [], "\\udc00": 1}', 422, [""]),
    (b'{"model": "m", "messages": [], "x": {"a": "\\ud800"}}', 422, ["/x/a"]),
    (b'{"model": "m", "messages": [], "seed": 1e400}', 422, ["/seed"]),
    (b'{"model": "m", "messages": [], "seed": 99999999999999999999}', 422, ["/seed"]),
    (b'{"model": "m", "messages": [], "x": ' + b"[" * 100 + b"]" * 100 + b"}", 422, ["/x" + "/0" * 63]),
    (b'{"model": "good", "messages": [], "model": 2}', 422, ["/model"]),
    (BODY | {"messages": {}}, 422, ["/messages"]),
    (BODY | {"messages": "hello"}, 422, ["/messages"]),
    (BODY | {"messages": [1]}, 422, ["/messages/0"]),
    (BODY | {"messages": [{}]}, 422, ["/messages/0/role", "/messages/0/content"]),
    (BODY | {"messages": [{"role": "king", "content": "x"}]}, 422, ["/messages/0/role"]),
    (BODY | {"messages": [{"role": "user", "content": 5}]}, 422, ["/messages/0/content"]),
    (BODY | {"messages": [*BODY["messages"], {"role": 1, "content": "x"}]}, 422, ["/messages/1/role"]),
    (BODY | {"messages": [{"role": "user", "content": "", "images": "x"}]}, 422, ["/messages/0/images"]),
    (BODY | {"messages": [{"role": "user", "content": "", "images": [1]}]}, 422, ["/messages/0/images/0"]),
    (BODY | {"messages": [{"role": "user", "content": "", "tool_calls": 1}]}, 422, ["/messages/0/tool_calls"]),
    (BODY | {"tools": {}}, 422, ["/tools"]),
    (BODY | {"tools": [1]}, 422, ["/tools/0"]),
    (BODY | {"format": 1}, 422, ["/format"]),
    (BODY | {"options": []}, 422, ["/options"]),
    (BODY | {"keep_alive": "soon"}, 422, ["/keep_alive"]),
    (BODY | {"think": []}, 422, ["/think"]),
    (BODY | {"stream": "yes"}, 422, ["/stream"]),
    (BODY | {"metadata": []}, 422, ["/metadata"]),
    (BODY | {"metadata": {"x": "y" * 16_384}}, 422, ["/metadata"]),
    (BODY | {"priority": "urgent"}, 422, ["/priority"]),
    (BODY | {"priority": 0}, 422, ["/priority"]),
    (BODY | {"ttl_s": -1}, 422, ["/ttl_s"]),
    (BODY | {"ttl_s": "60"}, 422, ["/ttl_s"]),
    (BODY | {"ttl_s": True}, 422, ["/ttl_s"]),
    (BODY | {"ttl_s": 30 * 86_400 + 1}, 422, ["/ttl_s"]),
    (BODY | {"start_deadline_s": 0}, 422, ["/start_deadline_s"]),
    (BODY | {"load_timeout_s": 0}, 422, ["/load_timeout_s"]),
    (BODY | {"exec_timeout_s": -5}, 422, ["/exec_timeout_s"]),
    (BODY | {"stall_timeout_s": []}, 422, ["/stall_timeout_s"]),
    (BODY | {"max_attempts": 0}, 422, ["/max_attempts"]),
    (BODY | {"max_attempts": 1.5}, 422, ["/max_attempts"]),
    (BODY | {"state_webhook_url": 1}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": ""}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "example.com"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "ftp://example.com/"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "http://example.com/"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "https://127.0.0.1/"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "https://2130706433/"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "https://169.254.169.254/latest"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_url": "https://[::1]/"}, 422, ["/state_webhook_url"]),
    (BODY | {"state_webhook_events": ["done"]}, 422, ["/state_webhook_events"]),
    (BODY | {"state_webhook_url": HOOK, "state_webhook_events": []}, 422, ["/state_webhook_events"]),
    (BODY | {"state_webhook_url": HOOK, "state_webhook_events": ["over"]}, 422, ["/state_webhook_events/0"]),
    ({"model": 1, "messages": 2, "ttl_s": -1}, 422, ["/model", "/messages", "/ttl_s"]),
]


@pytest.mark.parametrize(("body", "status", "pointers"), BAD_BODIES, ids=map(str, range(len(BAD_BODIES))))
def test_a_bad_body_is_refused_whole_with_all_that_is_wrong(
    api: Api, body: Any, status: int, pointers: list[str]
) -> None:
    """A problem that names every place, and not a row or a message of it."""
    before = api.rows()
    answer = api.post(body)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["type"] == f"urn:foreman:problem:{'not-json' if status == 400 else 'invalid-job'}"
    assert answer.json["title"]
    assert answer.json["detail"]
    assert [each["pointer"] for each in answer.json.get("errors", [])] == pointers
    assert all(each["detail"] for each in answer.json.get("errors", []))
    assert api.rows() == before
    assert api.messenger.sent == []


#: Headers that are refused, and how.
BAD_HEADERS: list[tuple[dict[str, str], int, str]] = [
    ({"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ({"Content-Type": ""}, 415, "unsupported-media-type"),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
    ({"Content-Type": "application/problem+json"}, 415, "unsupported-media-type"),
    ({"Content-Type": "application/jsonx"}, 415, "unsupported-media-type"),
    ({"Content-Encoding": "gzip"}, 415, "unsupported-content-coding"),
    ({"Idempotency-Key": ""}, 400, "bad-header"),
    ({"Idempotency-Key": "k" * 256}, 400, "bad-header"),
    ({"Idempotency-Key": "caf\xe9"}, 400, "bad-header"),
    ({"Idempotency-Key": "a\tb"}, 400, "bad-header"),
    ({"Content-Length": str(MAX_BODY_B + 1)}, 413, "body-too-large"),
]


@pytest.mark.parametrize(("headers", "status", "name"), BAD_HEADERS, ids=map(str, range(len(BAD_HEADERS))))
def test_a_bad_header_is_refused(api: Api, headers: dict[str, str], status: int, name: str) -> None:
    """The problem says which header, and nothing is accepted."""
    answer = api.client.simulate_post(
        "/jobs",
        body=json.dumps(BODY),
        headers={"Content-Type": "application/json"} | headers,
    )
    assert answer.status_code == status
    assert answer.json["type"] == f"urn:foreman:problem:{name}"
    assert api.rows()["JobRow"] == 0


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
)
def test_the_media_type_may_have_parameters(api: Api, content_type: str) -> None:
    """What is JSON by its name is read as JSON."""
    assert api.post(BODY, {"Content-Type": content_type}).status_code == 202


def test_a_byte_order_mark_is_passed_over(api: Api) -> None:
    """RFC 8259 lets a reader ignore it, and editors on Windows write it."""
    assert api.post(b"\xef\xbb\xbf" + json.dumps(BODY).encode()).status_code == 202


@pytest.mark.parametrize(("size_b", "status"), [(MAX_BODY_B, 202), (MAX_BODY_B + 1, 413), (5 * MAX_BODY_B, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_read_up_to_the_limit(api: Api, size_b: int, status: int, *, chunked: bool) -> None:
    """The limit counts what arrives, with a Content-Length or in chunks."""
    body = json.dumps(BODY).encode()
    body += b" " * (size_b - len(body))
    answer = _post_stream(api, io.BytesIO(body)) if chunked else api.post(body)
    assert answer.status_code == status


def test_a_body_that_never_ends_costs_a_little_memory_and_one_answer(api: Api) -> None:
    """What is beyond the limit is thrown away as it comes, and not read for ever."""

    class Endless(io.RawIOBase):
        taken_b = 0

        def read(self, size: int = -1) -> bytes:
            self.taken_b += size
            return b" " * size

    endless = Endless()
    tracemalloc.start()
    try:
        assert _post_stream(api, endless).status_code == 413
        _, peak_b = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert endless.taken_b <= MAX_BODY_B + MAX_DISCARDED_B + 2 * PIECE_B
    assert peak_b < 2**20


@pytest.mark.parametrize(
    ("error", "status"),
    [(OSError("reset"), 400), (InvalidChunkSize(b"x"), 400), (TimeoutError(), 408), (BlockingIOError(), 408)],
    ids=repr,
)
def test_a_body_that_breaks_off_is_the_clients_error(api: Api, error: Exception, status: int) -> None:
    """Bad chunks, a closed connection and a stalled one are no faults of foreman's."""

    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise error

    answer = _post_stream(api, Broken())
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_body_shorter_than_it_says_is_refused(api: Api) -> None:
    """Half a body that happens to be JSON is not the client's job."""
    answer = api.post(json.dumps(BODY).encode(), {"Content-Length": "5000"})
    assert (answer.status_code, answer.json["type"]) == (400, "urn:foreman:problem:incomplete-body")


def _post_stream(api: Api, stream: Any) -> Any:
    """A chunked request as gunicorn hands it over: no length, and a stream that ends by itself."""
    return api.client.simulate_post(
        "/jobs",
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        extras={"wsgi.input": stream, "wsgi.input_terminated": True},
    )
