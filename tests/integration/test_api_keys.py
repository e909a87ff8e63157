"""What a key opens: every route of the app, asked without one, with a bad one, with another's, and with an admin's."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon import inspect, testing

from foreman import clock
from foreman.api.app import make_app
from foreman.api.gate import OPEN, SHARED, is_open
from foreman.api.ui.browser import is_page
from foreman.domain import submission
from foreman.domain.api_key import ANYBODY, Allowance
from foreman.domain.job import Claim, Priority
from foreman.errors import StoreUnavailable
from foreman.services.authenticate import Authenticator
from foreman.services.issue import Issuer
from foreman.store.keys import Keys
from foreman.store.sessions import Sessions
from tests.integration.api import BODY, Api, running_api

NOBODYS = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass
class Holder:
    """Somebody with a key."""

    api: Api
    key_id: str
    text: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> testing.Result:
        """One request with the key."""
        return _ask(self.api, method, path, body, {"Authorization": f"Bearer {self.text}"} | headers)

    def submit(self, **keys: Any) -> str:
        """Submit a job and return its id."""
        answer = self.ask("POST", "/jobs", BODY | keys)
        assert answer.status_code == 202, answer.text
        return str(answer.json["job_id"])

    def listed(self, query: str = "") -> set[str]:
        """The jobs that it sees."""
        return {job["job_id"] for job in self.ask("GET", f"/jobs?limit=200{query}").json["jobs"]}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API that wants keys."""
    with running_api(tmp_path) as running:
        running.rebuild(authenticator=Authenticator(Keys(), Sessions()))
        yield running


def _holder(api: Api, *, admin: bool = False, **allowance: Any) -> Holder:
    issued = Issuer(Keys()).issue("somebody", Allowance(**allowance), admin=admin)
    return Holder(api, issued.key.id, issued.text)


def _ask(api: Api, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> testing.Result:
    data = None if body is None else json.dumps(body).encode()
    given = ({} if body is None else {"Content-Type": "application/json"}) | (headers or {})
    return api.client.simulate_request(method, path, body=data, headers=given)


def _routes(api: Api) -> list[tuple[str, str]]:
    """Every method of every route, from the app itself: one that is added later is among them. Not the page's."""
    routes = [each for each in inspect.inspect_routes(make_app(api.parts)) if not is_page(each.path)]
    found = [(each.method, route.path) for route in routes for each in route.methods if not each.internal]
    assert len(found) > 20
    return found


def _path(template: str, job_id: str = NOBODYS) -> str:
    names = {"job_id": job_id, "name": "completion", "model": "m", "state": "done", "page": "docs"}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda place: names[place[1]], template)


def _is_of_a_job(template: str) -> bool:
    return "{job_id}" in template


def test_every_route_wants_a_key(api: Api) -> None:
    """401 with the challenge, whatever is asked; only probes and what pages are made of are open."""
    for method, template in [*_routes(api), ("GET", "/nothing"), ("GET", "/"), ("PUT", "/jobs"), ("OPTIONS", "/jobs")]:
        answer = _ask(api, method, _path(template))
        if is_open(template):
            assert answer.status_code in {200, 404}, template
        else:
            assert answer.status_code == 401, (method, template)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_route_takes_a_key_that_is_not_good(api: Api) -> None:
    """Unknown, altered or revoked: the same answer to the byte, so that nothing is learnt from it."""
    good, revoked = _holder(api), _holder(api)
    Keys().revoke(revoked.key_id, clock.now())
    altered = good.text[:-1] + ("A" if good.text[-1] != "A" else "B")
    unknown = good.text.replace(good.key_id, NOBODYS)
    for method, template in _routes(api):
        if is_open(template):
            continue
        answers = {
            (answer.status_code, answer.text, answer.headers["WWW-Authenticate"])
            for text in (revoked.text, altered, unknown, "x", "")
            for answer in [_ask(api, method, _path(template), headers={"Authorization": f"Bearer {text}"})]
        }
        assert len(answers) == 1, (method, template)
        assert next(iter(answers))[::2] == (401, 'Bearer error="invalid_token"')


def test_a_refusal_is_written_as_each_client_reads_it(api: Api) -> None:
    """A problem, Ollama's error, OpenAI's error."""
    answer = _ask(api, "GET", "/jobs")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == "urn:foreman:problem:key-required"
    assert set(_ask(api, "POST", "/api/chat").json) == {"error"}
    error = _ask(api, "GET", "/v1/models").json["error"]
    assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")


def test_every_route_of_a_job_hides_it_from_other_keys(api: Api) -> None:
    """Each method of each such route answers to the byte as if the id had never been, and changes nothing."""
    one, two = _holder(api), _holder(api)
    running, done = one.submit(), one.submit()
    nobodys = _submit_without_keys(api)
    api.finish_claim(_claim_of(api, done), "Hi")
    before = one.ask("GET", f"/jobs/{done}").text, one.ask("GET", f"/jobs/{running}").text
    routes = [each for each in _routes(api) if _is_of_a_job(each[1])]
    assert ("POST", "/jobs/{job_id}/cancel") in routes
    for method, template in routes:
        for job_id in (running, done, done.lower(), nobodys):
            for accept in ("application/json", "text/event-stream"):
                sent = {"Accept": accept, "X-Request-Id": "both"}
                hidden = two.ask(method, _path(template, job_id), **sent)
                unknown = two.ask(method, _path(template), **sent)
                assert hidden.status_code == 404, (method, template)
                assert (hidden.text, hidden.headers) == (unknown.text, unknown.headers)
    assert (one.ask("GET", f"/jobs/{done}").text, one.ask("GET", f"/jobs/{running}").text) == before


def test_a_job_that_is_gone_is_gone_to_its_owner_and_never_was_to_others(api: Api) -> None:
    """410 and 404: another key learns not even that the id was used."""
    one, two, admin = _holder(api), _holder(api), _holder(api, admin=True)
    job_id = one.submit()
    api.fail()
    assert one.ask("DELETE", f"/jobs/{job_id}").status_code == 204
    assert one.ask("GET", f"/jobs/{job_id}").status_code == 410
    assert admin.ask("GET", f"/jobs/{job_id}").status_code == 410
    assert two.ask("GET", f"/jobs/{job_id}").status_code == 404


def test_a_key_does_everything_with_its_own_job(api: Api) -> None:
    """What it submitted it sees, lists, follows, fetches, cancels and deletes."""
    one = _holder(api)
    job_id = one.submit(metadata={"who": "me"})
    api.finish()
    assert one.ask("GET", f"/jobs/{job_id}").json["state"] == "done"
    assert one.ask("GET", f"/jobs/{job_id}/events").json["events"][-1]["state"] == "done"
    assert one.ask("GET", f"/jobs/{job_id}/artifacts/completion").status_code == 200
    assert one.listed("&metadata.who=me") == {job_id}
    cancelled = one.submit()
    assert one.ask("POST", f"/jobs/{cancelled}/cancel").status_code == 200
    assert one.ask("DELETE", f"/jobs/{job_id}").status_code == 204


def test_a_listing_shows_the_jobs_of_its_key(api: Api) -> None:
    """Whatever is filtered by, and page by page; an admin sees those of every key and of none."""
    one, two, admin = _holder(api), _holder(api), _holder(api, admin=True)
    mine = {one.submit(metadata={"n": 1}) for _ in range(3)}
    theirs = {two.submit(metadata={"n": 1})}
    nobodys = {_submit_without_keys(api)}
    for query in ("", "&state=queued", "&model=tiny", "&metadata.n=1", "&created_after=2020-01-01T00:00:00Z"):
        assert one.listed(query) == mine, query
        assert two.listed(query) == theirs, query
    assert admin.listed() == mine | theirs | nobodys
    page = one.ask("GET", "/jobs?limit=2").json
    rest = one.ask("GET", f"/jobs?limit=2&cursor={page['next_cursor']}").json
    assert {job["job_id"] for job in page["jobs"] + rest["jobs"]} == mine
    assert rest["next_cursor"] is None


def test_routes_that_are_not_for_every_key_are_for_admins(api: Api) -> None:
    """Any route that nobody has said is shared is an operator's: one that is added and forgotten is not open."""
    plain, admin = _holder(api), _holder(api, admin=True)
    routes = _routes(api)
    pages = {each for each in SHARED | OPEN if is_page(each)}
    assert {template for _, template in routes} >= (SHARED | OPEN | {"/metrics"}) - pages
    for method, template in routes:
        if _is_of_a_job(template) or is_open(template):
            continue
        mine, theirs = plain.ask(method, _path(template)), admin.ask(method, _path(template))
        assert (mine.status_code == 403) == (template not in SHARED), (method, template, mine.text)
        assert theirs.status_code not in {401, 403}, (method, template)


class Forgotten:
    """A resource that knows nothing of keys."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        """Answer whoever gets here."""
        resp.text = "come in"


def test_a_route_that_is_added_and_not_thought_of_is_closed(api: Api) -> None:
    """To keys that are not an admin's; one of a job to all but its owner."""
    plain, other, admin = _holder(api), _holder(api), _holder(api, admin=True)
    job_id = plain.submit()
    app = make_app(api.parts)
    app.add_route("/new", Forgotten())
    app.add_route("/jobs/{job_id}/new", Forgotten())
    for holder, path, status in (
        (plain, "/new", 403),
        (admin, "/new", 200),
        (plain, f"/jobs/{job_id}/new", 200),
        (other, f"/jobs/{job_id}/new", 404),
        (admin, f"/jobs/{job_id}/new", 200),
    ):
        answer = testing.TestClient(app).simulate_get(path, headers={"Authorization": f"Bearer {holder.text}"})
        assert answer.status_code == status, path


def test_two_keys_use_one_idempotency_key_for_two_jobs(api: Api) -> None:
    """Neither finds the other's job, nor learns that there is one."""
    one, two = _holder(api), _holder(api)
    first = one.ask("POST", "/jobs", BODY, **{"Idempotency-Key": "k"})
    second = two.ask("POST", "/jobs", BODY | {"metadata": {"a": 1}}, **{"Idempotency-Key": "k"})
    again = one.ask("POST", "/jobs", BODY, **{"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code, again.status_code) == (202, 202, 202)
    assert first.json["job_id"] == again.json["job_id"] != second.json["job_id"]
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_full_queue_of_a_key_is_429_with_a_time(api: Api) -> None:
    """Other keys are not held up by it."""
    one, two = _holder(api, max_queued=1), _holder(api)
    one.submit()
    answer = one.ask("POST", "/jobs", BODY)
    assert (answer.status_code, answer.json["type"]) == (429, "urn:foreman:problem:key-queue-full")
    assert int(answer.headers["Retry-After"]) >= 1
    two.submit()
    api.fail()
    one.submit()


def test_too_many_submissions_are_429_with_a_time(api: Api) -> None:
    """On every path by which jobs come, in each client's words."""
    one = _holder(api, per_minute=1)
    one.submit()
    answer = one.ask("POST", "/jobs", BODY)
    assert (answer.status_code, answer.json["type"]) == (429, "urn:foreman:problem:key-rate-exceeded")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    ollama = one.ask("POST", "/api/chat", BODY)
    assert (ollama.status_code, set(ollama.json)) == (429, {"error"})
    assert "Retry-After" in ollama.headers
    openai = one.ask("POST", "/v1/chat/completions", BODY)
    assert (openai.status_code, openai.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert api.rows()["JobRow"] == 1


def test_a_priority_above_the_keys_is_429_and_named(api: Api) -> None:
    """Waiting hardly helps, so it is asked for a long time: the answer says what is allowed."""
    one = _holder(api, max_priority=Priority.NORMAL)
    answer = one.ask("POST", "/jobs", BODY | {"priority": "interactive"})
    assert (answer.status_code, answer.json["type"]) == (429, "urn:foreman:problem:priority-not-allowed")
    assert answer.headers["Retry-After"] == "3600"
    assert "normal" in answer.json["detail"]
    assert one.ask("POST", "/api/chat", BODY | {"priority": "interactive"}).status_code == 429
    assert one.ask("POST", "/v1/chat/completions", BODY | {"priority": "interactive"}).status_code == 429
    assert api.rows()["JobRow"] == 0


def test_a_job_that_names_no_priority_gets_one_that_the_key_allows(api: Api) -> None:
    """Lowered from the default, and the body that an Idempotency-Key is bound to stays what was sent."""
    one = _holder(api, max_priority=Priority.BATCH)
    job_id = one.submit()
    assert one.ask("GET", f"/jobs/{job_id}").json["priority"] == "batch"


def test_a_body_is_judged_before_a_limit(api: Api) -> None:
    """What is no job is 422 even to a key that may have no more jobs: the client learns what to mend."""
    one = _holder(api, max_priority=Priority.BATCH)
    assert one.ask("POST", "/jobs", {"priority": "interactive"}).status_code == 422
    assert one.ask("POST", "/jobs", ["priority"]).status_code == 422


def test_without_a_database_nobody_is_let_in(api: Api) -> None:
    """503 and not 401: the key may be good; probes answer all the same."""

    class Away(Keys):
        def find(self, key_id: str) -> Any:
            raise StoreUnavailable

    holder = _holder(api)
    api.rebuild(authenticator=Authenticator(Away(), Sessions()))
    answer = holder.ask("GET", "/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert _ask(api, "GET", "/healthz").status_code == 200


@pytest.mark.parametrize("header", ["Bearer x", "Bearer none", "Basic YTpi", "Bearer fm_", ""])
def test_where_keys_are_off_a_header_is_not_looked_at(api: Api, header: str) -> None:
    """OpenAI's clients always send one; and jobs of keys are everybody's then."""
    job_id = _holder(api).submit()
    api.rebuild(authenticator=None)
    answer = _ask(api, "POST", "/jobs", BODY, {"Authorization": header})
    assert answer.status_code == 202
    assert api.get(f"/jobs/{job_id}").status_code == 200
    assert len(api.get("/jobs").json["jobs"]) == 2


def test_a_revoked_keys_jobs_go_on(api: Api) -> None:
    """They run, and an admin sees them."""
    one, admin = _holder(api), _holder(api, admin=True)
    job_id = one.submit()
    Keys().revoke(one.key_id, clock.now())
    assert one.ask("GET", f"/jobs/{job_id}").status_code == 401
    api.finish()
    assert admin.ask("GET", f"/jobs/{job_id}").json["state"] == "done"


def test_a_key_is_in_no_log_no_answer_and_no_row(api: Api, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Of its secret only the digest is kept, and nothing says it again."""
    caplog.set_level(logging.DEBUG)
    one = _holder(api, per_minute=1, max_priority=Priority.NORMAL)
    secret = one.text[len("fm__") + len(one.key_id) :]
    job_id = one.submit()
    answers = [
        one.ask("GET", f"/jobs/{job_id}"),
        one.ask("GET", "/jobs"),
        one.ask("GET", "/metrics"),
        one.ask("POST", "/jobs", BODY),
        one.ask("POST", "/jobs", BODY | {"priority": "interactive"}),
        one.ask("POST", "/api/generate", BODY),
        one.ask("GET", "/nothing"),
    ]
    Keys().revoke(one.key_id, clock.now())
    answers.append(one.ask("GET", "/jobs"))
    for answer in answers:
        assert secret not in answer.text + str(answer.headers)
    assert secret not in caplog.text
    for path in tmp_path.rglob("foreman.db*"):
        assert secret.encode() not in path.read_bytes()


def _submit_without_keys(api: Api) -> str:
    """A job from when keys were off."""
    request = submission.read(BODY, defaults=api.parts.defaults, policy=api.parts.policy)
    return api.parts.submitter.submit(request, None, ANYBODY).job.id


def _claim_of(api: Api, job_id: str) -> Claim:
    """The claim of one job; those in line before it are ``working`` too."""
    claim = api.start()
    while claim.job.id != job_id:
        claim = api.start()
    return claim
