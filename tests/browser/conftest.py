"""A foreman that wants keys, and a browser that is signed in with one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.foreman_up import COMMAND
from tests.acceptance.stack import Answer, Stack
from tests.browser.chromium import MISSING, chromium, complaints_of, executable, page_of
from tests.receiver import accept
from tests.upstream import reply


@dataclass
class KeyedStack(Stack):
    """The Procfile's processes, asked with an admin's key."""

    key: str = ""

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout_s: float = 70
    ) -> Answer:
        """One request with the key."""
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return super().ask(method, path, body, authorization | (headers or {}), timeout_s)

    def issue(self, *options: str) -> str:
        """Another key, as ``foreman keys create`` prints it."""
        return self._keys("create", "somebody", *options)

    def revoke(self, key: str) -> None:
        """Let a key be good no longer."""
        self._keys("revoke", key.split("_")[1])

    def _keys(self, *arguments: str) -> str:
        command = [*COMMAND, "keys", *arguments]
        made = subprocess.run(
            command, env=self.environ(), cwd=self.directory, capture_output=True, text=True, check=True, timeout=60
        )
        return made.stdout.strip()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedStack]:
    """One for all tests."""
    env = {"FOREMAN_WEB_AUTH": "on", "FOREMAN_WEBHOOK_CIRCUIT_FAILURES": "1000"}
    with KeyedStack(tmp_path_factory.mktemp("browser") / "stack", env) as stack:
        stack.key = stack.issue("--admin")
        yield stack


@pytest.fixture
def stack(running: KeyedStack) -> KeyedStack:
    """With its peers at their defaults, and nothing left to run."""
    running.upstream.forget()
    running.cancel_all()
    running.receiver.answer = accept
    running.upstream.default = reply("Hello", ", ", "world", "!")
    return running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    path = executable()
    if path is None:
        pytest.fail(MISSING, pytrace=False)
    with chromium(path) as found:
        yield found


@pytest.fixture(scope="session")
def signed_in(running: KeyedStack, browser: Browser) -> Any:
    """The cookies of a browser that has signed in."""
    with page_of(browser, running.url) as page:
        sign_in(page, running.key)
        return page.context.storage_state()


@pytest.fixture
def page(browser: Browser, stack: KeyedStack, signed_in: Any) -> Iterator[Page]:
    """A page that is signed in, and whose scripts and policy have nothing to complain of."""
    with page_of(browser, stack.url, state=signed_in) as opened:
        complaints = complaints_of(opened)
        yield opened
        assert complaints == []


def sign_in(page: Page, key: str, path: str = "/ui") -> None:
    """Go to a page, and sign in on the way."""
    page.goto(path)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
