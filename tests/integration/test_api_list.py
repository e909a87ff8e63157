"""``GET /jobs``: pages that hold still, filters, and queries that are refused rather than half understood."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foreman import clock
from foreman.domain.moment import rfc3339
from tests.integration.api import Api, running_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def test_a_listing_shows_summaries_newest_first(api: Api) -> None:
    """What a job's own answer says, less what takes another query for each."""
    first = api.submit()
    api.finish()
    second = _later(api, priority="batch")
    answer = api.get("/jobs")
    assert answer.status_code == 200
    assert answer.json["next_cursor"] is None
    assert [each["job_id"] for each in answer.json["jobs"]] == [second, first]
    for summary in answer.json["jobs"]:
        whole = api.job(summary["job_id"])
        left_out = {"queue_position", "eta_s", "result", "artifacts", "webhook"}
        assert summary == {key: value for key, value in whole.items() if key not in left_out}


def test_pages_hold_every_job_once_while_jobs_are_added_and_removed(api: Api) -> None:
    """Keyset paging: new jobs are before the first page, and a job that goes takes nobody's place."""
    ids = [_later(api) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get("/jobs?limit=2" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [each["job_id"] for each in page["jobs"]]
        cursor = page["next_cursor"]
        _later(api)
    assert seen == ids[::-1]


def test_a_full_last_page_has_no_next(api: Api) -> None:
    """A cursor is given only where something is behind it."""
    for _ in range(4):
        _later(api)
    assert api.get("/jobs?limit=4").json["next_cursor"] is None
    assert api.get("/jobs?limit=3").json["next_cursor"] is not None


def test_a_page_has_fifty_jobs_unless_it_is_said(api: Api) -> None:
    """And never more than two hundred."""
    for _ in range(51):
        api.submit()
    assert len(api.get("/jobs").json["jobs"]) == 50
    assert len(api.get("/jobs?limit=200").json["jobs"]) == 51


def test_filters_narrow_a_listing_and_combine(api: Api) -> None:
    """By state, model, metadata and age."""
    done = api.submit(metadata={"who": "me", "n": 1, "deep": {"x": 1}})
    api.finish()
    middle = rfc3339(clock.now())
    other = _later(api, model="big one/ö", metadata={"who": "you", "n": 1, "flag": True, "none": None})

    def listed(query: str) -> list[str]:
        answer = api.get(f"/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [each["job_id"] for each in answer.json["jobs"]]

    assert listed("state=done") == [done]
    assert listed("state=queued") == [other]
    assert listed("state=failed") == []
    assert listed("model=tiny") == [done]
    assert listed("model=big+one%2F%C3%B6") == [other]
    assert listed("model=") == []
    assert listed("metadata.who=me") == [done]
    assert listed("metadata.n=1") == [other, done]
    assert listed("metadata.n=1&metadata.who=you") == [other]
    assert listed("metadata.flag=true&metadata.none=null") == [other]
    assert listed("metadata.deep=1") == []
    assert listed(f"created_after={middle}") == [other]
    assert listed("created_after=2026-01-01T00:00:00%2B02:00&state=done&model=tiny&limit=1") == [done]
    assert listed("created_after=9999-12-31T23:59:59Z") == []


#: A query that is refused, and what the problem must name.
BAD_QUERIES = [
    ("state=over", "state"),
    ("state=", "state"),
    ("state=DONE", "state"),
    ("state=done&state=failed", "state"),
    ("states=done", "states"),
    ("x", "x"),
    ("wait=5", "wait"),
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=-1", "limit"),
    ("limit=1.0", "limit"),
    ("limit=", "limit"),
    ("limit=%D9%A3", "limit"),
    ("limit=" + "9" * 5000, "limit"),
    ("created_after=yesterday", "created_after"),
    ("created_after=2026-01-01", "created_after"),
    ("created_after=2026-01-01T00:00:00", "created_after"),
    ("created_after=2026-01-01T00:00:00+02:00", "%2B"),
    ("created_after=99999-01-01T00:00:00Z", "created_after"),
    ("cursor=", "cursor"),
    ("cursor=x", "cursor"),
    ("cursor=%21%21", "cursor"),
    ("cursor=AAAA", "cursor"),
    ("cursor=%FF", "cursor"),
    ("model=a%00b", "model"),
    ("metadata.k=%00", "metadata.k"),
    ("metadata.%00=1", "metadata."),
    ("metadata.k=1&metadata.k=2", "metadata.k"),
    ("metadata=1", "metadata"),
    ("%0d%0aX: y=1", "X: y"),
]


@pytest.mark.parametrize(("query", "named"), BAD_QUERIES, ids=map(str, range(len(BAD_QUERIES))))
def test_a_query_that_cannot_be_used_is_refused(api: Api, query: str, named: str) -> None:
    """400, and the problem names the parameter: a filter that is silently ignored shows jobs nobody asked for."""
    answer = api.get(f"/jobs?{query}")
    assert (answer.status_code, answer.json["type"]) == (400, "urn:foreman:problem:bad-parameter")
    assert named in answer.json["detail"]
    assert answer.json["detail"].isprintable()


def _later(api: Api, **keys: Any) -> str:
    """Submit a job in a later millisecond than any before: within one, ids are in no order."""
    newest = api.get("/jobs?limit=1").json["jobs"]
    while newest and rfc3339(clock.now()) <= newest[0]["created_at"]:
        threading.Event().wait(0.0005)
    return api.submit(**keys)
