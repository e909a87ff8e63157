"""The page as somebody at a browser uses it, on the real processes."""

from __future__ import annotations

import re
import threading

from playwright.sync_api import Browser, Page, expect

from tests.acceptance.stack import eventually
from tests.browser.chromium import PATIENCE_MS, page_of
from tests.browser.conftest import KeyedStack, sign_in
from tests.receiver import accept, always
from tests.upstream import Behaviour, Exchange, stats

#: What would run if it were more than text.
HOSTILE = "<script>alert('script')</script><img src=x onerror=alert('img')><b>bold</b>"

expect.set_options(timeout=PATIENCE_MS)


def said(text: str, until: threading.Event, rest: str = "") -> Behaviour:
    """An answer that begins with ``text``, and goes on with the ``rest`` when something is set."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.line(exchange.part({"content": text}))
        exchange.pause(60, until)
        exchange.line(exchange.part({"content": rest}))
        exchange.line(exchange.part({}, **stats(2)))
        exchange.end()

    return behave


def test_a_job_is_submitted_watched_and_done(page: Page, stack: KeyedStack) -> None:
    """By the form: its text comes as it is generated, and what came of it without loading the page again."""
    go_on = threading.Event()
    stack.upstream.next(said("Some of it", go_on, " and more"))
    page.goto("/ui")
    page.get_by_role("link", name="Submit a job").click()
    page.get_by_label("Model").fill("m")
    page.get_by_label("Message", exact=True).fill("Say something")
    page.get_by_label("Webhook URL").fill(stack.receiver.url)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#live-answer pre")).to_have_text("Some of it")
    expect(page.locator(".state .badge")).to_have_text("working")
    go_on.set()
    expect(page.locator(".state .badge")).to_have_text("done")
    expect(page.locator("#live-answer pre")).to_have_text("Some of it and more")
    expect(page.locator(".events summary .badge")).to_have_text(["delivered"] * 4)
    expect(page.get_by_role("button", name="Cancel the job")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="completion").click()
    assert "Some of it and more" in download.value.path().read_text()


def test_a_running_job_is_cancelled(page: Page, stack: KeyedStack) -> None:
    """The page shows it as failed at once, with what text it had."""
    stack.upstream.next(said("Some of it", threading.Event()))
    job_id = stack.submit()
    page.goto(f"/ui/jobs/{job_id}")
    expect(page.locator("#live-answer pre")).to_have_text("Some of it")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".state .badge")).to_have_text("failed")
    expect(page.locator(".failure")).to_contain_text("cancelled")
    expect(page.locator("article.answer pre")).to_have_text("Some of it")
    expect(page.get_by_role("link", name="partial")).to_be_visible()


def test_a_dead_event_is_redelivered(page: Page, stack: KeyedStack) -> None:
    """Each try is there with what the receiver said; once it is well, one click does it."""
    stack.receiver.answer = always(500, body=b"out of paper")
    job_id = stack.submit(state_webhook_events=["done"])
    stack.settled(job_id)
    page.goto(f"/ui/jobs/{job_id}")
    row = page.locator(".events > li", has=page.locator("#tries-done"))
    expect(row.locator("summary .badge")).to_have_text("dead")
    expect(row.get_by_text("out of paper")).to_have_count(7)
    stack.receiver.answer = accept
    row.get_by_role("button", name="Redeliver done").click()
    expect(row.locator("summary .badge")).to_have_text("delivered")
    stack.receiver.wait_for(lambda got: any(each.json["job_id"] == job_id for each in got[-1:]))


def test_what_died_in_an_outage_is_recovered(page: Page, stack: KeyedStack) -> None:
    """From the list over all jobs, all at once."""
    stack.receiver.answer = always(503)
    jobs = [stack.submit(state_webhook_events=["queued"]) for _ in range(2)]
    for job_id in jobs:
        stack.settled(job_id)
    stack.receiver.answer = accept
    page.goto("/ui/deliveries")
    for job_id in jobs:
        expect(page.get_by_role("link", name=job_id)).to_have_count(1)
    page.get_by_role("button", name="Send them again").click()
    expect(page.get_by_text(re.compile(r"^\d+ events are being sent again\.$"))).to_be_visible()
    for job_id in jobs:
        assert stack.settled(job_id)["webhook"]["events"][0]["status"] == "delivered"
    eventually(lambda: not stack.ask("GET", "/webhooks/events?status=pending").json["events"], "all is delivered")
    page.goto("/ui/deliveries")
    expect(page.get_by_text("No event is dead.")).to_be_visible()


def test_hostile_text_does_not_run(page: Page, stack: KeyedStack) -> None:
    """Of a model, live and afterwards, of a receiver and of a client: it stands there, letter by letter."""
    go_on = threading.Event()
    stack.receiver.answer = always(500, body=HOSTILE.encode())
    stack.upstream.next(said(HOSTILE, go_on))
    job_id = stack.submit(
        messages=[{"role": "user", "content": HOSTILE}],
        metadata={HOSTILE: HOSTILE},
        state_webhook_events=["queued"],
    )
    page.goto(f"/ui/jobs/{job_id}")
    expect(page.locator("#live-answer pre")).to_have_text(HOSTILE)
    go_on.set()
    stack.settled(job_id)
    page.goto(f"/ui/jobs/{job_id}")
    expect(page.locator("article.answer pre")).to_have_text(HOSTILE)
    expect(page.locator(".excerpt").first).to_have_text(HOSTILE)
    assert page.locator("main img, main script, main b").count() == 0


def test_the_queue_is_live_and_keeps_the_focus(page: Page, stack: KeyedStack) -> None:
    """A job that somebody else submits appears, and whoever was about to follow a link still is."""
    first = stack.submit()
    stack.until(first, "done")
    page.goto("/ui")
    page.get_by_role("link", name=first).focus()
    second = stack.submit()
    expect(page.get_by_role("link", name=second)).to_be_visible()
    expect(page.get_by_role("link", name=first)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=first)).to_be_visible()


def test_everything_is_done_by_keyboard(page: Page, stack: KeyedStack) -> None:
    """The first key leads past the links, what has the focus can be seen, and a form is filled in and sent."""
    page.goto("/ui/submit")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Model")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("m")
    page.keyboard.press("Tab")
    page.keyboard.type("Hello")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#live-answer pre")).to_have_text("Hello, world!")


def test_a_form_that_is_wrong_says_where(page: Page, stack: KeyedStack) -> None:
    """And keeps what was typed."""
    page.goto("/ui/submit")
    page.get_by_label("Model").fill("m")
    page.get_by_label("Message", exact=True).fill("Hello")
    page.get_by_label("Webhook URL").fill("ftp://receiver.example/")
    with page.expect_response(lambda answer: answer.status == 422):
        page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("one field is not right")
    expect(page.get_by_label("Webhook URL")).to_have_value("ftp://receiver.example/")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello")


def test_text_that_cannot_be_followed_says_so(stack: KeyedStack, browser: Browser, signed_in: object) -> None:
    """As many follow as there are places for: the page goes on without the text, and tells what became of the job."""
    go_on = threading.Event()
    stack.upstream.next(said("Some of it", go_on))
    job_id = stack.submit()
    with page_of(browser, stack.url, state=signed_in) as page:
        page.route("**/events", lambda route: route.fulfill(status=503))
        page.goto(f"/ui/jobs/{job_id}")
        expect(page.locator("#live-note")).to_contain_text("cannot be followed now")
        go_on.set()
        expect(page.locator(".state .badge")).to_have_text("done")


def test_signing_in_leads_back_and_out_again(stack: KeyedStack, browser: Browser) -> None:
    """To the page that was asked for; a key that is not good is told so; after signing out nothing is seen."""
    job_id = stack.submit()
    with page_of(browser, stack.url) as page:
        page.goto(f"/ui/jobs/{job_id}")
        page.get_by_label("API key").fill("fm_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("no longer good")
        sign_in(page, stack.key, f"/ui/jobs/{job_id}")
        expect(page.get_by_role("heading", name=job_id)).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.goto("/ui")
        expect(page.get_by_label("API key")).to_be_visible()


def test_a_key_that_is_revoked_shows_nothing_more(stack: KeyedStack, browser: Browser) -> None:
    """The page that is open asks to sign in by itself; a plain key saw nothing of others before that either."""
    theirs, key = stack.submit(), stack.issue()
    with page_of(browser, stack.url) as page:
        sign_in(page, key)
        expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
        expect(page.get_by_role("link", name="Deliveries")).to_have_count(0)
        assert theirs not in page.content()
        stack.revoke(key)
        expect(page.get_by_label("API key")).to_be_visible()


def test_a_link_of_another_site_leads_to_the_page(page: Page, stack: KeyedStack) -> None:
    """Whoever is signed in need not do it again."""
    page.goto(f"data:text/html,<a href='{stack.url}/ui/upstreams'>foreman</a>")
    page.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Upstreams")).to_be_visible()


def test_no_other_site_submits_a_job(stack: KeyedStack, browser: Browser, signed_in: object) -> None:
    """A form on another site, in a browser that is signed in: 403, and no job."""
    with page_of(browser, stack.url, state=signed_in) as page:
        page.goto("/ui")
        before = len(stack.ask("GET", "/jobs?limit=200").json["jobs"])
        # The same host by another name is another site.
        page.goto(stack.receiver.url.replace("127.0.0.1", "localhost"))
        page.set_content(
            f'<form method="post" action="{stack.url}/ui/submit"><input name="model" value="m">'
            '<input name="prompt" value="x"><button>Win</button></form>'
        )
        with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
            page.get_by_role("button").click()
        assert answered.value.status in {401, 403}
        assert len(stack.ask("GET", "/jobs?limit=200").json["jobs"]) == before
