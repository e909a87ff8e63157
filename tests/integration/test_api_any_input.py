"""Whatever is sent: never a 5xx, an error always in one form, and nothing half written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreman.domain.submission import OWN_KEYS
from tests.integration.api import BODY, Api, running_api

#: The database lives as long as the test: what one example leaves behind is what the next one meets.
SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(max_size=20) | st.sampled_from(["tiny", "user", "done", "5m", "https://example.com/", "normal", "\0"])
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1, -1, 1e308, 2**64])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
KEYS = sorted(OWN_KEYS | {"model", "messages", "tools", "format", "options", "keep_alive", "think", "stream", "x"})
#: Bodies that are nearly right: a good job with some keys replaced by anything.
NEARLY = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4).map(lambda changes: BODY | changes)

HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def _check(api: Api, answer: Any, before: dict[str, int]) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code != 202:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert set(answer.json) - {"errors"} == {"type", "title", "status", "detail"}
        assert "Traceback" not in answer.text
        assert api.rows() == before
    else:
        assert api.rows()["JobRow"] == before["JobRow"] + 1
        api.job(answer.json["job_id"])


@SETTINGS
@given(body=JSON | NEARLY)
def test_any_json_is_a_job_or_a_problem(api: Api, body: Any) -> None:
    """A job that is accepted can be read; one that is refused leaves no trace."""
    before = api.rows()
    answer = api.post(body)
    assert answer.status_code in {202, 413, 422}
    _check(api, answer, before)


@SETTINGS
@given(
    body=st.binary(max_size=200) | st.text(st.sampled_from('{}[]",:\\u0d8e1-+.NaInfty '), max_size=60).map(str.encode)
)
def test_any_bytes_are_a_problem(api: Api, body: bytes) -> None:
    """No bytes break the reader."""
    before = api.rows()
    answer = api.post(body)
    assert answer.status_code in {400, 422}
    _check(api, answer, before)


@SETTINGS
@given(cut=st.integers(0, 200), junk=st.binary(min_size=1, max_size=3), at=st.integers(0, 200))
def test_a_damaged_job_is_a_job_or_a_problem(api: Api, cut: int, junk: bytes, at: int) -> None:
    """A good body, cut off or with some bytes changed."""
    good = json.dumps(BODY | {"metadata": {"k": "v"}, "ttl_s": 60, "options": {"seed": 1.5}}).encode()
    damaged = (good[:at] + junk + good[at + len(junk) :])[: cut or None]
    before = api.rows()
    _check(api, api.post(damaged), before)


@SETTINGS
@given(headers=st.dictionaries(st.sampled_from(["Idempotency-Key", "Content-Type", "Content-Encoding"]), HEADER))
def test_any_header_is_taken_or_a_problem(api: Api, headers: dict[str, str]) -> None:
    """Headers are the client's too."""
    before = api.rows()
    answer = api.post(BODY, headers)
    assert answer.status_code in {202, 400, 415}
    if "Idempotent-Replayed" not in answer.headers:
        _check(api, answer, before)


@SETTINGS
@given(
    path=st.lists(st.sampled_from(["jobs", "artifacts", "completion", "healthz", ""]) | TEXT, max_size=5),
    query=st.dictionaries(
        st.sampled_from(["state", "model", "limit", "cursor", "created_after", "wait", "metadata.k"]) | TEXT,
        st.text(max_size=20),
        max_size=3,
    ),
    headers=st.dictionaries(st.sampled_from(["If-None-Match", "Range", "If-Range", "Prefer", "Accept"]), HEADER),
    method=st.sampled_from(["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PATCH"]),
)
def test_any_url_is_answered(
    api: Api, path: list[str], query: dict[str, str], headers: dict[str, str], method: str
) -> None:
    """Whatever path, query and headers a client thinks of."""
    url = "/" + "/".join(quote(part, safe="") for part in path)
    asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    answer = api.client.simulate_request(method, url, query_string=asked, headers=headers)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json["status"] == answer.status_code
