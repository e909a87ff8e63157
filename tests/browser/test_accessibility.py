"""Every page for everybody: axe has nothing to say, in both themes, wide and narrow, and nothing sticks out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import Browser, Page

from tests.browser.chromium import Theme, complaints_of, page_of
from tests.browser.conftest import KeyedStack
from tests.browser.test_page import said
from tests.receiver import accept, always

#: Pixels: the narrowest phone there is.
PHONE = 360

LONG = "w" * 200


@pytest.fixture(scope="module")
def pages(running: KeyedStack) -> Iterator[dict[str, str]]:
    """Paths of pages, with something in each of their corners, long words among it."""
    running.upstream.forget()
    running.cancel_all()
    go_on = threading.Event()
    running.receiver.answer = always(500, body=LONG.encode())
    done = running.submit(
        metadata={"a": LONG},
        model=f"library/{LONG}:7b",
        messages=[{"role": "system", "content": LONG}, {"role": "user", "content": f"{LONG} x", "images": []}],
        tools=[{"type": "function"}],
        state_webhook_events=["queued", "done"],
    )
    running.settled(done)
    running.receiver.answer = accept
    failed = running.submit()
    running.ask("POST", f"/jobs/{failed}/cancel")
    running.settled(failed)
    running.upstream.next(said(LONG, go_on))
    live = running.submit()
    running.until(live, "working")
    running.submit(model=LONG, priority="batch")
    yield {
        "queue": "/ui",
        "nothing": "/ui?model=none",
        "done": f"/ui/jobs/{done}",
        "failed": f"/ui/jobs/{failed}",
        "live": f"/ui/jobs/{live}",
        "submit": "/ui/submit",
        "upstreams": "/ui/upstreams",
        "dead": "/ui/deliveries",
        "recovered": "/ui/deliveries?status=delivered&recovered=3",
        "fault": "/ui/nothing",
    }
    go_on.set()
    running.cancel_all()


@pytest.mark.parametrize("theme", get_args(Theme))
def test_axe_finds_nothing(
    running: KeyedStack, browser: Browser, signed_in: Any, pages: dict[str, str], theme: Theme
) -> None:
    """On any page, as it opens and with all that can be opened open; nor do its scripts and its policy complain."""
    axe = Axe()
    with page_of(browser, running.url, theme=theme, state=signed_in) as page:
        complaints = complaints_of(page)
        for name, path in pages.items():
            page.goto(path)
            _open_everything(page)
            assert _violations(axe, page) == [], name
        page.goto("/ui/submit")
        page.get_by_label("Model").fill("m")
        page.get_by_label("Webhook URL").fill("ftp://x")
        page.get_by_role("button", name="Submit").click()
        page.get_by_role("alert").wait_for()
        assert _violations(axe, page) == [], "a form that came back"
        assert [each for each in complaints if "404" not in each] == []
    with page_of(browser, running.url, theme=theme) as page:
        page.goto("/ui")
        assert _violations(axe, page) == [], "signing in"


def test_nothing_sticks_out_on_a_phone(
    running: KeyedStack, browser: Browser, signed_in: Any, pages: dict[str, str]
) -> None:
    """However long a word is, no page is wider than the narrowest screen."""
    with page_of(browser, running.url, size=(PHONE, 740), state=signed_in) as page:
        for name, path in pages.items():
            page.goto(path)
            _open_everything(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, name


def _open_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def _violations(axe: Axe, page: Page) -> list[str]:
    """What axe objects to, and where."""
    found = axe.run(page).response["violations"]
    where: Callable[[Any], list[Any]] = lambda each: [node["html"][:200] for node in each["nodes"][:3]]  # noqa: E731
    return [f"{each['id']}: {each['help']}: {where(each)}" for each in found]
