"""``/openapi.json`` and ``/docs``: what is described is all there is, and every answer is as it is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from falcon import inspect, testing
from openapi_spec_validator import OpenAPIV31SpecValidator

from foreman.api.description.document import describe
from foreman.api.ui.browser import is_page
from foreman.domain.lifecycle import Cause, State
from foreman.services.authenticate import Authenticator
from foreman.store.keys import Keys
from foreman.store.sessions import Sessions
from tests.described import Described
from tests.integration.api import BODY, Api, running_api

NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
HOOK = "https://example.com/hook"


@pytest.fixture(scope="module")
def described() -> Described:
    """What an installation says of itself that asks for no key."""
    return Described(describe(keys=False))


@pytest.fixture
def api(tmp_path: Path, described: Described) -> Iterator[Api]:
    """An API of which every answer is held to the description."""
    with running_api(tmp_path) as running:
        running.client = Held(running.client.app, described)
        yield running


class Held(testing.TestClient):
    """A client that takes no answer that is not described."""

    def __init__(self, app: Any, described: Described) -> None:
        super().__init__(app)
        self._described = described

    def simulate_request(self, *args: Any, **kwargs: Any) -> testing.Result:
        """The answer, as it is described."""
        method, path = kwargs.get("method") or args[0], kwargs.get("path") or args[1]
        answer = super().simulate_request(*args, **kwargs)
        self._described.hold(method, path, answer.status_code, dict(answer.headers), answer.content)
        return answer


@pytest.mark.parametrize("keys", [False, True])
def test_the_description_is_openapi(*, keys: bool) -> None:
    """Valid by the specification's own schema, with and without keys."""
    assert list(OpenAPIV31SpecValidator(describe(keys=keys)).iter_errors()) == []


def test_what_is_described_is_what_is_routed(api: Api, described: Described) -> None:
    """Each method of each route is in the description, and nothing else is; the page is for people."""
    routed = {
        (method.method.lower(), route.path.replace(":path}", "}"))
        for route in inspect.inspect_routes(api.client.app)
        for method in route.methods
        if not method.internal and not is_page(route.path)
    }
    told = {(method, path) for path, methods in described.document["paths"].items() for method in methods}
    assert told == routed


def test_operations_have_names_of_their_own(described: Described) -> None:
    """Generated clients are made of them."""
    ids = [each["operationId"] for path in described.document["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))


def test_every_example_is_what_it_is_an_example_of(described: Described) -> None:
    """Requests, answers, problems and events."""
    looked_at = 0
    for holder in _holders(described.document):
        examples = [holder["example"]] if "example" in holder else []
        examples += [each["value"] for each in holder.get("examples", {}).values() if "value" in each]
        for example in examples:
            assert described.problems(holder["schema"], example) == [], example
            looked_at += 1
    problem = {"$ref": "#/components/schemas/Problem"}
    for each in described.document["components"]["examples"].values():
        assert described.problems(problem, each["value"]) == []
    assert looked_at > 30


def _holders(part: Any) -> Iterator[dict[str, Any]]:
    """Every part that has a schema and beside it examples."""
    if isinstance(part, dict):
        if "schema" in part and part.keys() & {"example", "examples"}:
            yield part
        for each in part.values():
            yield from _holders(each)
    elif isinstance(part, list):
        for each in part:
            yield from _holders(each)


def test_the_examples_of_a_submission_are_accepted(api: Api, described: Described) -> None:
    """Word for word as the description shows them."""
    content = described.operation("POST", "/jobs")["requestBody"]["content"]["application/json"]
    assert len(content["examples"]) >= 3
    for name, example in content["examples"].items():
        assert api.post(example["value"]).status_code == 202, name


def test_the_examples_of_orders_are_taken(api: Api, described: Described) -> None:
    """A recovery, and a ping whose URL leads nowhere here."""
    for path, status in (("/webhooks/recover", 202), ("/webhooks/ping", 200)):
        examples = described.operation("POST", path)["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            body = json.dumps(example["value"])
            headers = {"Content-Type": "application/json"}
            assert api.client.simulate_post(path, body=body, headers=headers).status_code == status


def test_every_answer_of_a_jobs_life_is_as_described(api: Api) -> None:
    """Accepted, replayed, live, done and failed; listed, read, followed, cancelled and purged."""
    key = {"Idempotency-Key": "k"}
    job_id = api.submit(key, state_webhook_url=HOOK, metadata={"a": [1, None]})
    assert api.post(BODY | {"state_webhook_url": HOOK, "metadata": {"a": [1, None]}}, key).status_code == 202
    assert api.post(BODY, key).status_code == 422
    assert api.job(job_id)["state"] == "queued"
    claim = api.start()
    assert api.job(job_id)["state"] == "working"
    api.finish_claim(claim, "Hi")
    job = api.get(f"/jobs/{job_id}")
    assert job.json["state"] == "done"
    assert api.get(f"/jobs/{job_id}", {"If-None-Match": job.headers["ETag"]}).status_code == 304
    assert api.client.simulate_head(f"/jobs/{job_id}").status_code == 200
    assert (
        api.post(
            BODY | {"state_webhook_url": HOOK, "metadata": {"a": [1, None]}}, key | {"Prefer": "wait=1"}
        ).status_code
        == 200
    )
    failed = api.submit()
    api.fail(Cause.UPSTREAM_REJECTED)
    assert api.job(failed)["error"]["upstream_status"] == 400
    for path in (
        f"/jobs/{job_id}/events",
        f"/jobs/{failed}/events",
        "/jobs",
        "/jobs?limit=1",
        f"/jobs/{job_id}/deliveries",
    ):
        assert api.get(path).status_code == 200
    artifact = f"/jobs/{job_id}/artifacts/completion"
    assert [
        api.get(artifact, headers).status_code for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=999-"})
    ] == [200, 206, 416]
    assert api.client.simulate_post(f"/jobs/{job_id}/cancel").status_code == 409
    assert api.client.simulate_post(f"/jobs/{api.submit()}/cancel").status_code == 200
    assert api.client.simulate_post(f"/jobs/{job_id}/deliveries/done/redeliver").status_code == 202
    assert api.client.simulate_delete(f"/jobs/{api.submit()}").status_code == 409
    assert api.client.simulate_delete(f"/jobs/{job_id}").status_code == 204
    assert api.get(f"/jobs/{job_id}").status_code == 410


def test_every_refusal_is_as_described(api: Api) -> None:
    """Wrong bodies, wrong types, wrong parameters, and jobs that there are not."""
    for data, headers in (
        (b"{", {"Content-Type": "application/json"}),
        (b"{}", {"Content-Type": "text/plain"}),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        (b'{"messages": [1], "ttl_s": -1}', {"Content-Type": "application/json"}),
        (b" " * 30_000, {"Content-Type": "application/json"}),
        (b"{}", {"Content-Type": "application/json", "Idempotency-Key": "\x7f"}),
    ):
        assert api.client.simulate_post("/jobs", body=data, headers=headers).status_code >= 400
    for path in (
        "/jobs?limit=0",
        "/jobs?x=1",
        f"/jobs/{NOBODY}",
        f"/jobs/{NOBODY}?wait=x",
        "/webhooks/events?status=x",
    ):
        assert api.get(path).status_code >= 400
    for path in (f"/jobs/{NOBODY}/artifacts/x", f"/jobs/{NOBODY}/deliveries?cursor=x", "/jobs/x/events"):
        assert api.get(path).status_code >= 400
    for path, body in (
        ("/webhooks/recover", {"x": 1}),
        ("/webhooks/ping", {"url": "http://127.0.0.1"}),
        ("/api/chat", {}),
    ):
        assert api.client.simulate_post(path, json=body).status_code >= 400
    assert api.client.simulate_post("/v1/chat/completions", json={"n": 2}).status_code == 400


def test_what_an_operator_reads_is_as_described(api: Api) -> None:
    """With something in each list."""
    api.submit(state_webhook_url=HOOK)
    for path in ("/webhooks/events", "/webhooks/origins", "/upstreams", "/healthz", "/readyz", "/metrics"):
        assert api.get(path).status_code == 200


def test_events_are_described_as_receivers_get_them(described: Described) -> None:
    """One for each state, and a ping."""
    assert set(described.document["webhooks"]) == {*(f"job.{state}" for state in State), "ping"}


def test_the_description_is_open_and_tells_whether_keys_are_wanted(tmp_path: Path) -> None:
    """It tells nothing of anybody's jobs, and 304 to whoever has it."""
    with running_api(tmp_path) as api:
        assert api.get("/openapi.json").json["paths"]["/jobs"]["post"]["security"] == []
        api.rebuild(authenticator=Authenticator(Keys(), Sessions()))
        answer = api.get("/openapi.json")
        assert answer.json == describe(keys=True)
        assert answer.json["paths"]["/jobs"]["post"]["security"] == [{"bearer": []}]
        assert api.get("/openapi.json", {"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_the_page_names_no_other_host_and_runs_no_script_of_its_own(api: Api) -> None:
    """All of it is files of the package, under a policy that lets nothing else in."""
    page = api.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    assert "<script>" not in page.text
    for url in [each.split('"')[0] for each in page.text.split('="/')[1:]]:
        assert api.get(f"/{url}").status_code == 200, url
