"""What the page shows and does, without a browser: its HTML, its headers, and what its forms lead to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon import inspect

from foreman import clock
from foreman.api.app import make_app
from foreman.api.ui.browser import is_page
from foreman.domain.delivery import Attempt, Dead
from foreman.domain.lifecycle import Cause
from foreman.queue import messages
from tests.integration.api import BODY, PUBLIC_URL, Api, running_api
from tests.integration.page import Outline, Visitor

HOOK = "https://hooks.example.com/h?token=t0ken"

#: What would run, break out of an attribute or end a script, if it were not only text.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></textarea></pre>{{ 'ab' * 4 }}&lt;"

NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API that wants no keys."""
    with running_api(tmp_path) as running:
        yield running


@pytest.fixture
def visitor(api: Api) -> Visitor:
    """Somebody who has looked at the page."""
    someone = Visitor(api)
    assert someone.get("/ui").status_code == 200
    return someone


def _dead(api: Api, job_id: str, excerpt: str = "busy") -> None:
    """Let the job's next event die."""
    sending = api.parts.events.claim(job_id, clock.now())
    assert sending is not None
    attempt = Attempt(status=503, error=None, retry_after=None, excerpt=excerpt, duration_ms=3)
    api.parts.events.record(sending, attempt, Dead(), clock.now())


def _shown(html: str) -> str:
    """The text of a page, as it reads."""
    return Outline(html).words


def _pages(api: Api, job_id: str) -> list[str]:
    """The path of every page and piece, from the app itself."""
    routes = inspect.inspect_routes(make_app(api.parts))
    paths = [route.path for route in routes for each in route.methods if is_page(route.path) and each.method == "GET"]
    assert len(paths) > 8
    return [path.replace("{job_id}", job_id).replace("{name}", "completion") for path in paths]


def test_every_answer_of_the_page_has_its_headers(api: Api, visitor: Visitor) -> None:
    """The policy lets nothing run that is not a file of ours, faults and answers without a body included."""
    job_id = api.submit()
    api.finish()
    for path in [*_pages(api, job_id), "/ui/nothing", "//ui", f"/ui/jobs/{NOBODY}", "/ui?state=gone"]:
        answer = visitor.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


def test_no_page_needs_what_its_policy_forbids(api: Api, visitor: Visitor) -> None:
    """No script or style within a page, no attribute that is one, and nothing from anywhere else."""
    job_id = api.submit(state_webhook_url=HOOK)
    _dead(api, job_id)
    api.finish()
    for path in _pages(api, job_id):
        answer = visitor.get(path)
        if "html" not in answer.headers.get("Content-Type", ""):
            continue
        for tag, attributes in Outline(answer.text).tags:
            assert "style" not in attributes, (path, tag)
            assert not [name for name in attributes if name.startswith("on")], (path, tag)
            assert tag != "style"
            assert (tag != "script") or str(attributes["src"]).startswith("/assets/ui/"), path
            for name in ("href", "src", "action", "formaction", "hx-get"):
                assert (attributes.get(name) or "/").startswith(("/", "#")), (path, tag, name)


def test_hostile_text_is_only_text(api: Api, visitor: Visitor) -> None:
    """Of a client, a model, a receiver: shown as it is, on every page that shows it, and no element comes of it."""
    plain = api.submit(state_webhook_url=HOOK)
    _dead(api, plain)
    api.finish("said")
    hostile = api.submit(
        state_webhook_url=HOOK + "&x=%3Cscript%3E",
        model=HOSTILE,
        messages=[{"role": "user", "content": HOSTILE, HOSTILE: 1}, {"role": "tool", "content": HOSTILE}],
        metadata={HOSTILE: HOSTILE},
    )
    _dead(api, hostile, excerpt=HOSTILE)
    api.finish(HOSTILE)
    page = visitor.get(f"/ui/jobs/{hostile}").text
    assert HOSTILE in Outline(page).text
    assert Outline(page).text.count(HOSTILE) >= 5
    for html in (page, visitor.get("/ui").text, visitor.get(f"/ui/jobs/{hostile}/status").text):
        assert not [tag for tag, _ in Outline(html).tags if tag == "img"]
        assert "<script>" not in html
        assert "abababab" not in html


@pytest.mark.parametrize("query", [f"?model={'%3Cimg%20src%3Dx%3E'}", "?state=%3Cimg%20src%3Dx%3E", "?%3Cimg%3E=1"])
def test_hostile_parameters_are_only_text(visitor: Visitor, query: str) -> None:
    """In what a filter shows again, and in what a fault says of it."""
    assert "<img" not in visitor.get(f"/ui{query}").text


def test_the_queue_is_counted_and_listed(api: Api, visitor: Visitor) -> None:
    """By state, by model and priority, newest first."""
    first, second = api.submit(model="one"), api.submit(model="two", priority="batch")
    api.fail()
    shown = _shown(visitor.get("/ui").text)
    assert "1 queued 0 loading 0 working 0 done 1 failed" in shown
    assert "Model interactive normal batch two 0 0 1" in shown
    assert shown.index(second) < shown.index(first)
    assert "upstream_rejected" in shown


def test_the_queue_is_filtered_and_paged(api: Api, visitor: Visitor) -> None:
    """As ``GET /jobs``, by the same parameters and cursors."""
    jobs = [api.submit(model="m") for _ in range(3)]
    other = api.submit(model="other")
    page = visitor.get("/ui?model=m&state=&limit=2").text
    assert other not in page
    assert [job in page for job in jobs] == [False, True, True]
    older = next(str(each["href"]) for _, each in Outline(page).tags if each.get("id") == "older")
    rest = visitor.get(older).text
    assert [job in rest for job in jobs] == [True, False, False]
    assert "hx-get" not in rest
    assert "hx-get" in page
    assert visitor.get("/ui?state=gone").status_code == 400


def test_a_job_is_found_by_its_id(api: Api, visitor: Visitor) -> None:
    """In any case of letters, with a space too many."""
    job_id = api.submit()
    answer = visitor.get(f"/ui?job_id=%20{job_id.lower()}&state=")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/jobs/{job_id}")
    assert visitor.get("/ui?job_id=x").status_code == 404


def test_a_piece_that_the_page_has_is_not_sent_again(api: Api, visitor: Visitor) -> None:
    """204, so that nothing is swapped; once something has changed, the whole piece."""
    piece = next(str(each["hx-get"]) for _, each in Outline(visitor.get("/ui").text).tags if "hx-get" in each)
    assert visitor.get(piece).status_code == 204
    job_id = api.submit()
    api.rebuild()  # forgets what it showed a moment ago
    answer = visitor.get(piece)
    assert answer.status_code == 200
    assert job_id in answer.text
    assert "<html" not in answer.text


def test_a_live_job_is_shown_with_a_way_to_follow_and_to_end_it(api: Api, visitor: Visitor) -> None:
    """The page follows the very stream of the API, and has a button to cancel."""
    job_id = api.submit(metadata={"who": "me"})
    page = visitor.get(f"/ui/jobs/{job_id}").text
    tags = Outline(page).tags
    assert f"/ui/jobs/{job_id}/events" in [each.get("data-events") for _, each in tags]
    assert f"/ui/jobs/{job_id}/cancel" in [each.get("formaction") for _, each in tags]
    assert "Place in line 1" in _shown(page)
    assert "Hello" in page
    answer = visitor.get(f"/ui/jobs/{job_id}/events", Accept="application/json")
    assert answer.json["events"][0]["state"] == "queued"


def test_a_finished_job_is_shown_with_all_that_came_of_it(api: Api, visitor: Visitor) -> None:
    """Its text, its figures, its artifact, its phases, and each try to tell its receiver."""
    job_id = api.submit(state_webhook_url=HOOK, state_webhook_events=["done"])
    completion = api.finish("It is done")
    _dead(api, job_id, "no room")
    page = visitor.get(f"/ui/jobs/{job_id}").text
    shown = _shown(page)
    for text in ("It is done", "Tokens 2", "application/json", "waiting", "503", "no room", "dead", "skipped"):
        assert text in shown, text
    tags = Outline(page).tags
    buttons = [each["formaction"] for _, each in tags if "formaction" in each]
    assert buttons == [f"/ui/jobs/{job_id}/deliveries/done/redeliver"]
    assert "data-events" not in page
    assert visitor.get(f"/ui/jobs/{job_id}/artifacts/completion").content == completion


def test_a_result_that_is_too_large_is_a_link(api: Api, visitor: Visitor) -> None:
    """The page stays small; the artifact has the whole."""
    job_id = api.submit()
    api.finish("long " * 1000)
    page = visitor.get(f"/ui/jobs/{job_id}").text
    assert "long long" not in page
    assert "too large" in page


def test_a_failed_job_says_why(api: Api, visitor: Visitor) -> None:
    """Code, words and the upstream's status."""
    api.submit()
    shown = _shown(visitor.get(f"/ui/jobs/{api.fail()}").text)
    assert "upstream_rejected The upstream said no. (upstream: 400)" in shown
    assert "There is none." in shown


@pytest.mark.parametrize("path", [f"/ui/jobs/{NOBODY}", "/ui/jobs/x", "/ui/nothing", f"/ui/jobs/{NOBODY}/status"])
def test_what_is_not_there_is_a_page_that_says_so(visitor: Visitor, path: str) -> None:
    """404 as HTML, with a way back."""
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert 'href="/ui"' in answer.text


def test_the_form_submits_a_job_as_the_api_does(api: Api, visitor: Visitor) -> None:
    """The same body as by hand, line ends as they were typed, and the browser is led to the job."""
    answer = visitor.post(
        "/ui/submit",
        {
            "model": " tiny ",
            "system": "Be brief.",
            "prompt": "Hello\r\nthere",
            "priority": "batch",
            "webhook_url": HOOK,
            "metadata": '{"a": 1}',
            "more": '{"options": {"seed": 2}, "ttl_s": 60}',
            "once": "1",
        },
    )
    assert answer.status_code == 303
    job_id = answer.headers["Location"].removeprefix("/ui/jobs/")
    job = api.job(job_id)
    assert (job["model"], job["priority"], job["metadata"]) == ("tiny", "batch", {"a": 1})
    assert job["webhook"]["url"] == HOOK
    claim = api.start()
    assert claim.payload == (
        b'{"options":{"seed":2},"messages":[{"role":"system","content":"Be brief."},'
        b'{"role":"user","content":"Hello\\nthere"}],"model":"tiny"}'
    )
    assert messages.run(job_id) in api.messenger.sent


def test_a_form_that_is_sent_twice_makes_one_job(api: Api, visitor: Visitor) -> None:
    """Unless something in it was changed in between: that is another job."""
    fields = {"model": "tiny", "prompt": "Hi", "once": "1"}
    first, again = visitor.post("/ui/submit", fields), visitor.post("/ui/submit", fields)
    changed = visitor.post("/ui/submit", fields | {"prompt": "Ho"})
    assert first.headers["Location"] == again.headers["Location"] != changed.headers["Location"]
    assert api.rows()["JobRow"] == 2


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"model": "", "prompt": "x"}, "model", "is required"),
        ({"model": "m", "prompt": "x", "webhook_url": "http://10.0.0.1/"}, "webhook_url", "must"),
        ({"model": "m", "prompt": "x", "metadata": "[1]"}, "metadata", "JSON object"),
        ({"model": "m", "prompt": "x", "more": "{"}, "more", "JSON object"),
        ({"model": "m", "prompt": "x", "more": '{"ttl_s": -1}'}, "more", "/ttl_s must be"),
        ({"model": "m", "prompt": "x", "priority": "urgent"}, "priority", "must be one of"),
    ],
)
def test_a_form_that_is_wrong_comes_back_as_it_was(
    api: Api, visitor: Visitor, fields: dict[str, str], name: str, words: str
) -> None:
    """422: what is wrong stands at its field, what was typed is still there, and nothing was submitted."""
    answer = visitor.post("/ui/submit", fields)
    assert answer.status_code == 422
    outline = Outline(answer.text)
    assert f"wrong-{name}" in [each.get("id") for _, each in outline.tags]
    [field] = [each for tag, each in outline.tags if each.get("name") == name and tag != "meta"]
    assert field["aria-invalid"] == "true"
    assert f"wrong-{name}" in str(field["aria-describedby"])
    assert words in outline.text
    assert api.rows()["JobRow"] == 0
    typed = [text for name, text in fields.items() if name != "priority"]
    for text in typed:
        assert not text or text in outline.text or text in [each.get("value") for _, each in outline.tags]


def test_a_job_is_cancelled_by_its_button(api: Api, visitor: Visitor) -> None:
    """And again does no harm: the job is shown as it is."""
    job_id = api.submit()
    for _ in range(2):
        answer = visitor.post(f"/ui/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/jobs/{job_id}")
    assert api.job(job_id)["error"]["code"] == Cause.CANCELLED
    assert visitor.post(f"/ui/jobs/{NOBODY}/cancel").status_code == 404


def test_a_dead_event_is_sent_again_by_its_button(api: Api, visitor: Visitor) -> None:
    """From the job's page, which is shown again."""
    job_id = api.submit(state_webhook_url=HOOK)
    _dead(api, job_id)
    answer = visitor.post(f"/ui/jobs/{job_id}/deliveries/queued/redeliver")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/ui/jobs/{job_id}#deliveries")
    assert api.job(job_id)["webhook"]["events"][0]["status"] == "pending"
    for state in ("done", "gone"):
        assert visitor.post(f"/ui/jobs/{job_id}/deliveries/{state}/redeliver").status_code == 404


def test_dead_events_are_listed_and_recovered(api: Api, visitor: Visitor) -> None:
    """Of all jobs; the page says how many are being sent again."""
    jobs = [api.submit(state_webhook_url=HOOK) for _ in range(3)]
    for job_id in jobs:
        _dead(api, job_id)
    page = visitor.get("/ui/deliveries").text
    assert all(job_id in page for job_id in jobs)
    assert "https://hooks.example.com" in page
    assert "t0ken" not in page
    answer = visitor.post("/ui/deliveries/recover", {"span": "hour", "origin": ""})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/deliveries?recovered=3")
    after = _shown(visitor.get(answer.headers["Location"]).text)
    assert "3 events are being sent again." in after
    assert "No event is dead." in after
    assert jobs[0] in visitor.get("/ui/deliveries?status=pending").text
    wrong = visitor.post("/ui/deliveries/recover", {"span": "day", "origin": "nowhere"})
    assert (wrong.status_code, "/origin" in wrong.text) == (422, True)


def test_upstreams_are_shown(visitor: Visitor) -> None:
    """Name, what it speaks, its slots; no URL, which may hold a password."""
    shown = _shown(visitor.get("/ui/upstreams").text)
    assert "default unknown Speaks ollama Slots in use 0 of 100" in shown
    assert "127.0.0.1" not in shown


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://falconframework.org.evil.example"},
        {},
    ],
)
def test_a_form_of_another_site_does_nothing(api: Api, visitor: Visitor, headers: dict[str, str]) -> None:
    """403, even with the browser's cookie and the right token."""
    job_id = api.submit()
    body = f"form_token={visitor.form_token()}"
    assert visitor.post_raw(f"/ui/jobs/{job_id}/cancel", body, **headers).status_code == 403
    assert visitor.post_raw(f"//ui/jobs/{job_id}/cancel", body, **headers).status_code == 403
    assert api.job(job_id)["state"] == "queued"


@pytest.mark.parametrize("origin", [PUBLIC_URL, "http://falconframework.org"])
def test_where_a_browser_tells_only_the_origin_it_must_be_ours(api: Api, visitor: Visitor, origin: str) -> None:
    """The host that was asked, or that of the public URL, as behind a proxy."""
    job_id = api.submit()
    answer = visitor.post_raw(f"/ui/jobs/{job_id}/cancel", f"form_token={visitor.form_token()}", Origin=origin)
    assert answer.status_code == 303


@pytest.mark.parametrize("body", ["", "form_token=", "form_token=%ff", "form_token=0", "form_token=" + "0" * 64])
def test_a_form_without_the_browsers_token_does_nothing(api: Api, visitor: Visitor, body: str) -> None:
    """403, or 400 for what is no form; another browser's token is not this one's."""
    job_id, other = api.submit(), Visitor(api)
    other.get("/ui")
    for text in (body, f"form_token={other.form_token()}"):
        answer = visitor.post_raw(f"/ui/jobs/{job_id}/cancel", text, **{"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code in {400, 403}
    stranger = Visitor(api)
    answer = stranger.post_raw(
        f"/ui/jobs/{job_id}/cancel", f"form_token={visitor.form_token()}", **{"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 403
    assert api.job(job_id)["state"] == "queued"


def test_only_a_form_is_a_form(api: Api, visitor: Visitor) -> None:
    """415 for JSON, 413 for what is too long."""
    same = {"Sec-Fetch-Site": "same-origin"}
    assert visitor.post_raw("/ui/submit", "{}", **same, **{"Content-Type": "application/json"}).status_code == 415
    assert visitor.post_raw("/ui/submit", "x=" + "y" * 30_000, **same).status_code == 413
    assert api.rows()["JobRow"] == 0


class Forgotten:
    """A resource whose author thought of nothing."""

    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Do it."""
        resp.text = "done"


def test_a_page_that_is_added_and_not_thought_of_is_guarded(api: Api, visitor: Visitor) -> None:
    """Its forms are believed like all others, and its answers have the headers."""
    app: Any = make_app(api.parts)
    app.add_route("/ui/new", Forgotten())
    api.client.app = app
    assert visitor.post_raw("/ui/new", "", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    answer = visitor.post("/ui/new")
    assert (answer.text, "Content-Security-Policy" in answer.headers) == ("done", True)


def test_the_cookie_is_for_the_page_alone(api: Api, visitor: Visitor) -> None:
    """No script reads it, no other site sends it, and it goes nowhere but below ``/ui``."""
    [cookie] = visitor.set_cookies
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/ui" in cookie
    assert "Secure" not in cookie
    api.rebuild(public_url="https://foreman.example")
    other = Visitor(api)
    other.get("/ui")
    assert "Secure" in other.set_cookies[0]
    assert visitor.get("/ui").headers.get("Set-Cookie") is None
    assert "Set-Cookie" not in api.get("/jobs").headers
    assert "foreman_ui" not in api.post(BODY).text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_whoever_follows_a_link_of_another_site_keeps_the_cookie(visitor: Visitor, site: str) -> None:
    """Their browser does not send it the first time: they are led to ask again, and no other cookie replaces it."""
    arrival = Visitor(visitor.api).get("/ui", **{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"})
    assert (arrival.status_code, arrival.headers.get("Set-Cookie")) == (200, None)
    assert '<meta http-equiv="refresh" content="0">' in arrival.text
    assert "Content-Security-Policy" in arrival.headers
    assert "Jobs" not in arrival.text
    again = visitor.get("/ui", **{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"})
    assert "Jobs" in again.text


def test_half_a_surrogate_pair_does_not_break_a_page(api: Api, visitor: Visitor) -> None:
    """JSON has them; what cannot be written as UTF-8 is a question mark."""
    job_id = api.submit()
    claim = api.start()
    api.finish_claim(claim, "a \ud800 b")
    answer = visitor.get(f"/ui/jobs/{job_id}")
    assert answer.status_code == 200
    assert "a ? b" in answer.text
