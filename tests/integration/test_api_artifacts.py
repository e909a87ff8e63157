"""``/jobs/{id}/artifacts/{name}``: the same bytes, whole or in part, from the row and from the artifact store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman.domain.lifecycle import State
from foreman.errors import ArtifactStoreUnavailable
from foreman.store.objects import CHUNK_B, Objects
from tests.integration.api import INLINE_LIMIT_B, Api, running_api

#: Lengths of the text of a completion that is kept in its row, and of one that is an object.
KEPT = {"row": 10, "object": 3 * INLINE_LIMIT_B}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


@pytest.fixture(params=sorted(KEPT))
def stored(api: Api, request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """The path of an artifact in either place, and its bytes."""
    return _stored(api, KEPT[request.param])


def _stored(api: Api, length: int) -> tuple[str, bytes]:
    job_id = api.submit()
    text = "".join(chr(ord("a") + index % 26) for index in range(length))
    return f"/jobs/{job_id}/artifacts/completion", api.finish(text)


def test_an_artifact_is_its_bytes_with_their_size_type_and_sum(api: Api, stored: tuple[str, bytes]) -> None:
    """GET sends them, HEAD says the same without them."""
    path, body = stored
    get, head = api.get(path), api.client.simulate_head(path)
    assert (get.status_code, get.content) == (200, body)
    assert (head.status_code, head.content) == (200, b"")
    assert get.headers.pop("X-Request-Id") != head.headers.pop("X-Request-Id")
    assert dict(get.headers) == dict(head.headers)
    assert get.headers == {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "etag": f'"{hashlib.sha256(body).hexdigest()}"',
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }


def test_a_client_that_has_the_bytes_is_told_so(api: Api, stored: tuple[str, bytes]) -> None:
    """304 for the tag the listing's ``sha256`` gives, to GET and HEAD, whatever range is asked for besides."""
    path, body = stored
    tag = f'"{hashlib.sha256(body).hexdigest()}"'
    for method in ("GET", "HEAD"):
        for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            answer = api.client.simulate_request(method, path, headers={"If-None-Match": given, "Range": "bytes=0-1"})
            assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert api.get(path, {"If-None-Match": '"x"'}).status_code == 200


#: A ``Range`` and what is sent, as a slice; ``N`` stands for the size. None: the whole, with 200.
RANGES: list[tuple[str, slice | None]] = [
    ("bytes=0-0", slice(0, 1)),
    ("bytes=0-9", slice(0, 10)),
    ("bytes=5-", slice(5, None)),
    ("bytes=-7", slice(-7, None)),
    ("bytes=0-", slice(0, None)),
    ("bytes=3-999999999999999999999999999999", slice(3, None)),
    ("bytes=-999999999999999999999999999999", slice(0, None)),
    ("BYTES=0-0", slice(0, 1)),
    ("bytes= 1-2 ", slice(1, 3)),
    # Several, malformed or of another unit: as if there were none.
    ("bytes=0-1,3-4", None),
    ("bytes=5-4", None),
    ("bytes=-", None),
    ("bytes=", None),
    ("bytes", None),
    ("bytes=a-b", None),
    ("bytes=1", None),
    ("bytes=--1", None),
    ("bytes=0x1-2", None),
    ("items=0-1", None),
    ("0-1", None),
    ("", None),
]


@pytest.mark.parametrize(("asked", "part"), RANGES)
def test_one_range_is_sent_alone(api: Api, stored: tuple[str, bytes], asked: str, part: slice | None) -> None:
    """206 with where the part lies; anything but one range of bytes is answered with the whole."""
    path, body = stored
    answer = api.get(path, {"Range": asked})
    wanted = body if part is None else body[part]
    assert (answer.status_code, answer.content) == (200 if part is None else 206, wanted)
    assert answer.headers["Content-Length"] == str(len(wanted))
    if part is None:
        assert "Content-Range" not in answer.headers
    else:
        start = body.index(wanted) if part.start == 0 else range(len(body))[part][0]
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(wanted) - 1}/{len(body)}"


@pytest.mark.parametrize("asked", ["bytes={size}-", "bytes={size}-{size}", "bytes=99999999999999999999-", "bytes=-0"])
def test_a_range_outside_is_refused_with_the_size(api: Api, stored: tuple[str, bytes], asked: str) -> None:
    """416, and a client that resumes learns that it has everything."""
    path, body = stored
    answer = api.get(path, {"Range": asked.format(size=len(body))})
    assert (answer.status_code, answer.json["type"]) == (416, "urn:foreman:problem:range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(body)}"


def test_a_head_has_no_range(api: Api, stored: tuple[str, bytes]) -> None:
    """RFC 9110 defines ranges for GET only."""
    path, body = stored
    answer = api.client.simulate_head(path, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(body)))


def test_a_range_of_another_version_is_not_sent(api: Api, stored: tuple[str, bytes]) -> None:
    """``If-Range`` holds only for the very bytes the client has begun to read."""
    path, body = stored
    tag = f'"{hashlib.sha256(body).hexdigest()}"'
    assert api.get(path, {"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
    for other in ('"x"', f"W/{tag}", "Tue, 24 Nov 2026 03:39:53 GMT"):
        assert api.get(path, {"Range": "bytes=0-1", "If-Range": other}).content == body


def test_a_large_object_is_sent_in_pieces(api: Api) -> None:
    """No reader makes the process hold more than one piece of it, and the seams do not show."""
    path, body = _stored(api, 3 * CHUNK_B)
    assert api.get(path).content == body
    asked = f"bytes={CHUNK_B - 5}-{2 * CHUNK_B + 5}"
    assert api.get(path, {"Range": asked}).content == body[CHUNK_B - 5 : 2 * CHUNK_B + 6]


@pytest.mark.parametrize("state", [State.QUEUED, State.LOADING, State.WORKING])
def test_a_job_that_is_not_done_has_no_artifact(api: Api, state: State) -> None:
    """404 until it is stored and announced."""
    job_id = api.submit()
    if state is not State.QUEUED:
        api.start(state)
    answer = api.get(f"/jobs/{job_id}/artifacts/completion")
    assert (answer.status_code, answer.json["type"]) == (404, "urn:foreman:problem:artifact-not-found")


@pytest.mark.parametrize(
    "name", ["other", "Completion", "..", "%2e%2e", "%00", "completion%00", "a" * 65, "%C3%A9", "*"]
)
def test_an_unknown_name_is_not_found(api: Api, stored: tuple[str, bytes], name: str) -> None:
    """Whatever a name looks like, it is only ever looked up."""
    path, _ = stored
    answer = api.get(path.replace("/completion", f"/{name}"))
    assert (answer.status_code, answer.json["type"]) == (404, "urn:foreman:problem:artifact-not-found")


def test_bytes_that_are_lost_are_gone(api: Api, tmp_path: Path) -> None:
    """410 to GET and HEAD: asking again will not bring them back."""
    path, _ = _stored(api, KEPT["object"])
    api.rebuild(objects=Objects(f"file://{tmp_path}/elsewhere"))
    answer = api.get(path)
    assert (answer.status_code, answer.json["type"]) == (410, "urn:foreman:problem:artifact-gone")
    assert api.client.simulate_head(path).status_code == 410


def test_a_store_that_is_away_is_a_503(api: Api, tmp_path: Path) -> None:
    """The bytes are there and will be sent later."""

    class Away(Objects):
        def read(self, location: str, start: int, end: int) -> Iterator[bytes]:
            raise ArtifactStoreUnavailable("/secret/path")

    path, _ = _stored(api, KEPT["object"])
    api.rebuild(objects=Away(f"file://{tmp_path}/artifacts"))
    answer = api.get(path)
    assert (answer.status_code, answer.json["type"]) == (503, "urn:foreman:problem:artifact-store-unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "secret" not in answer.text
