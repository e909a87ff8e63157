"""Who sees what of the page where keys are on: every page asked by nobody, by plain keys and by an admin's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from falcon import inspect

from foreman import clock
from foreman.api.app import make_app
from foreman.api.gate import OPEN, SHARED
from foreman.api.ui.browser import is_page
from foreman.domain.api_key import Allowance, digest_of
from foreman.domain.job import Priority
from foreman.domain.session import Session
from foreman.errors import StoreUnavailable
from foreman.services.authenticate import Authenticator
from foreman.services.issue import Issued, Issuer
from foreman.store.keys import Keys
from foreman.store.sessions import Sessions
from tests.integration.api import BODY, Api, running_api
from tests.integration.page import Visitor

NOBODYS = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API that wants keys."""
    with running_api(tmp_path) as running:
        running.rebuild(authenticator=Authenticator(Keys(), Sessions()))
        yield running


def _key(*, admin: bool = False, allowance: Allowance | None = None) -> Issued:
    return Issuer(Keys()).issue("somebody", allowance or Allowance(), admin=admin)


def _signed_in(api: Api, key: Issued) -> Visitor:
    visitor = Visitor(api)
    assert visitor.sign_in(key.text).status_code == 303
    return visitor


def _submit(api: Api, key: Issued, **keys: str) -> str:
    return api.submit({"Authorization": f"Bearer {key.text}"}, **keys)


def _routes(api: Api) -> list[tuple[str, str]]:
    """Every method of every page, from the app itself."""
    routes = inspect.inspect_routes(make_app(api.parts))
    found = [
        (each.method, route.path)
        for route in routes
        if is_page(route.path)
        for each in route.methods
        if not each.internal
    ]
    assert len(found) > 15
    return found


def _path(template: str, job_id: str = NOBODYS) -> str:
    return template.replace("{job_id}", job_id).replace("{state}", "queued").replace("{name}", "completion")


def _asked(visitor: Visitor, method: str, path: str) -> int:
    answer = visitor.get(path) if method in {"GET", "HEAD"} else visitor.post(path)
    return answer.status_code


@pytest.mark.parametrize("cookie", [None, "x", "A" * 43])
def test_every_page_wants_somebody_who_is_signed_in(api: Api, cookie: str | None) -> None:
    """401 with the form to sign in, and not a word of anything else; only that form itself is open."""
    for method, template in _routes(api):
        if template in OPEN:
            continue
        answer = Visitor(api, cookie)._ask(method, _path(template))
        assert answer.status_code == 401, (method, template)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert method == "HEAD" or 'name="key"' in answer.text
        assert "Upstreams" not in answer.text


def test_a_key_in_a_header_opens_no_page_and_a_cookie_nothing_else(api: Api) -> None:
    """So that no other site can use the API with a browser's cookie."""
    key = _key()
    assert Visitor(api).get("/ui", Authorization=f"Bearer {key.text}").status_code == 401
    assert _signed_in(api, key).get("/jobs").status_code == 401


def test_signing_in_leads_to_the_page_that_was_asked_for(api: Api) -> None:
    """With a token that the browser did not have before, and that is not the key."""
    key = _key()
    job_id = _submit(api, key)
    visitor = Visitor(api)
    form = visitor.get(f"/ui/jobs/{job_id}")
    before = visitor.cookie
    assert f'value="/ui/jobs/{job_id}"' in form.text
    answer = visitor.post("/ui/login", {"key": f" {key.text} ", "back": f"/ui/jobs/{job_id}"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/jobs/{job_id}")
    assert visitor.cookie != before
    assert str(visitor.cookie) not in key.text
    assert visitor.get(f"/ui/jobs/{job_id}").status_code == 200


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/ui//evil", "/jobs", "/ui/../x", ""])
def test_signing_in_leads_nowhere_else(api: Api, back: str) -> None:
    """Whatever somebody put into the form."""
    visitor = Visitor(api)
    visitor.get("/ui/login")
    answer = visitor.post("/ui/login", {"key": _key().text, "back": back})
    assert answer.headers["Location"] == "/ui"


def test_a_key_that_is_not_good_begins_nothing(api: Api) -> None:
    """Unknown, revoked or no key: 401, the same page for all, and the key is not in it."""
    revoked = _key()
    Keys().revoke(revoked.key.id, clock.now())
    for text in (revoked.text, "fm_x", "", _key().text[:-2]):
        visitor = Visitor(api)
        answer = visitor.sign_in(text)
        assert answer.status_code == 401
        assert "no longer good" in answer.text
        assert not text or text not in answer.text
        assert visitor.get("/ui").status_code == 401
    assert api.rows()["SessionRow"] == 0


def test_a_revoked_key_ends_what_it_began_at_once(api: Api) -> None:
    """With the next request, whatever it asks."""
    key = _key()
    visitor = _signed_in(api, key)
    assert visitor.get("/ui").status_code == 200
    Keys().revoke(key.key.id, clock.now())
    assert visitor.get("/ui").status_code == 401
    assert visitor.get("/ui/queue").status_code == 401


def test_signing_out_ends_the_session_for_good(api: Api) -> None:
    """The old cookie opens nothing any more, and the browser has another."""
    visitor = _signed_in(api, _key())
    old = visitor.cookie
    assert visitor.post("/ui/logout").headers["Location"] == "/ui/login"
    assert visitor.cookie != old
    assert Visitor(api, old).get("/ui").status_code == 401
    assert api.rows()["SessionRow"] == 0


def test_a_session_is_over_after_its_time(api: Api) -> None:
    """And its row is deleted when somebody signs in."""
    key, now = _key(), clock.now()
    token = "T" * 43
    Sessions().add(digest_of(token), Session(key.key.id, now - 1), now - 2)
    assert Visitor(api, token).get("/ui").status_code == 401
    _signed_in(api, key)
    assert api.rows()["SessionRow"] == 1


def test_each_key_sees_its_own_jobs(api: Api) -> None:
    """Counted, listed and shown; another's job looks like one that never was, on each of its routes."""
    one, two, root = _key(), _key(), _key(admin=True)
    mine, theirs = _submit(api, one, model="mine"), _submit(api, two, model="theirs")
    visitor = _signed_in(api, one)
    page = visitor.get("/ui").text
    assert mine in page
    assert theirs not in page
    assert "theirs" not in page
    assert theirs in _signed_in(api, root).get("/ui").text
    for method, template in _routes(api):
        if "{job_id}" in template:
            statuses = [
                _asked(visitor, method, _path(template, job_id)) for job_id in (theirs, theirs.lower(), NOBODYS)
            ]
            assert statuses == [404, 404, 404], (method, template)
    api.rebuild()
    assert api.rows()["JobRow"] == 2
    assert visitor.get(f"/ui/jobs/{mine}").status_code == 200
    assert visitor.post(f"/ui/jobs/{mine}/cancel").status_code == 303


def test_pages_that_are_not_for_every_key_are_for_admins(api: Api) -> None:
    """As over the API: 403, and no link leads there."""
    plain, admin = _signed_in(api, _key()), _signed_in(api, _key(admin=True))
    for method, template in _routes(api):
        if "{job_id}" in template or template in OPEN or template == "/ui/logout":
            continue
        assert (_asked(plain, method, template) == 403) == (template not in SHARED), (method, template)
        assert _asked(admin, method, template) not in {401, 403}, (method, template)
    assert "/ui/deliveries" not in plain.get("/ui").text
    assert "/ui/deliveries" in admin.get("/ui").text


def test_a_job_of_the_form_is_the_keys_and_within_its_limits(api: Api) -> None:
    """Its owner is whoever signed in, and what the key does not allow is refused."""
    key = _key(allowance=Allowance(max_queued=1, max_priority=Priority.NORMAL))
    visitor = _signed_in(api, key)
    fields = {"model": "tiny", "prompt": "Hi"}
    refused = visitor.post("/ui/submit", fields | {"priority": "interactive"})
    assert (refused.status_code, "normal" in refused.text) == (429, True)
    job_id = visitor.post("/ui/submit", fields).headers["Location"].removeprefix("/ui/jobs/")
    assert api.parts.jobs.owner(job_id) == key.key.id
    assert visitor.post("/ui/submit", fields | {"prompt": "Ho"}).status_code == 429


def test_a_cookie_from_before_signing_in_is_not_signed_in(api: Api) -> None:
    """Whoever gave the browser its first token has gained nothing."""
    visitor = Visitor(api, "F" * 43)
    assert visitor.sign_in(_key().text).status_code == 303
    assert Visitor(api, "F" * 43).get("/ui").status_code == 401


def test_without_a_database_nobody_is_let_in(api: Api) -> None:
    """503 as a page, and not 401: the session may be good."""

    class Away(Sessions):
        def find(self, digest: str) -> Session | None:
            raise StoreUnavailable

    visitor = _signed_in(api, _key())
    api.rebuild(authenticator=Authenticator(Keys(), Away()))
    answer = visitor.get("/ui")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "text/html" in answer.headers["Content-Type"]


def test_where_keys_are_off_there_is_nothing_to_sign_in_to(api: Api) -> None:
    """The form leads to the queue, and a key that is sent all the same is not looked at."""
    api.rebuild(authenticator=None)
    visitor = Visitor(api)
    assert visitor.get("/ui/login").headers["Location"] == "/ui"
    assert visitor.get("/ui").status_code == 200
    assert visitor.post("/ui/login", {"key": "x"}).status_code == 303
    assert "Sign out" not in visitor.get("/ui").text


@pytest.mark.sqlite
def test_neither_key_nor_token_is_in_a_log_or_a_row(api: Api, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Of the token only the digest is kept."""
    caplog.set_level(logging.DEBUG)
    key = _key()
    visitor = _signed_in(api, key)
    visitor.post("/ui/submit", {"model": "tiny", "prompt": "Hi"})
    assert api.post(BODY).status_code == 401
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("foreman.db*"))
    secret = key.text.rpartition(f"{key.key.id}_")[2]
    for text in (secret, str(visitor.cookie)):
        assert text not in caplog.text
        assert text.encode() not in kept
    assert digest_of(str(visitor.cookie)).encode() in kept
