"""A headless chromium, the system's own: nothing is downloaded, and nothing but loopback is spoken to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

#: What distributions call it.
NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox",  # its sandbox does not run as root, and it only sees our own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: Milliseconds for whatever a page should do at once; a loaded machine has taken more than twenty thousand.
PATIENCE_MS = 60_000

WIDE, NARROW = (1280, 800), (390, 844)

Theme = Literal["light", "dark"]


#: What to do where there is none.
MISSING = "chromium is not installed: apt-get install -y chromium (or dnf, brew, …), and run this again"


def executable() -> str | None:
    """Where it is; ``None``: not on this machine."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A browser until the end of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(
    browser: Browser, base_url: str, *, theme: Theme = "light", size: tuple[int, int] = WIDE, state: Any = None
) -> Iterator[Page]:
    """A page of a browser that knows nothing but ``state``: the cookies of another."""
    width, height = size
    context = browser.new_context(
        base_url=base_url,
        color_scheme=theme,
        viewport={"width": width, "height": height},
        timezone_id="UTC",
        storage_state=state,
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context.new_page()
    finally:
        context.close()


def complaints_of(page: Page) -> list[str]:
    """Errors of scripts, of the content policy and of files from now on; the list grows as they come."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A form that comes back with what is wrong is answered 422, as it should be.
        if message.type == "error" and "status of 422" not in message.text:
            found.append(message.text)

    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", note)

    def refuse(dialog: Dialog) -> None:
        found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    return found
