"""foreman as it runs, held to what it says of itself at ``/openapi.json``, and that as people browse it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foreman.domain.lifecycle import State
from tests.acceptance.stack import Stack, eventually
from tests.browser.chromium import MISSING, chromium, complaints_of, executable, page_of
from tests.described import Described
from tests.fuzz.description import ENV, MADE_UP, admin_key, examine
from tests.upstream_faults import status

#: Every edge of every parameter and body; but those of a job and of chats have a thousand each, which are for
#: `make fuzz`, as is the head of what is asked for in whole here.
EDGES = ("--phases", "coverage", "--exclude-method", "HEAD", "--exclude-path-regex", "chat|^/jobs$")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Procfile's processes, with API keys asked for."""
    with Stack(tmp_path_factory.mktemp("described"), ENV) as running:
        yield running


def test_what_receivers_get_is_as_described(stack: Stack) -> None:
    """The events of a job that is done and of one that fails, and a ping: their bodies and their headers."""
    bearer = {"Authorization": f"Bearer {admin_key(stack)}"}
    described = Described(stack.ask("GET", "/openapi.json").json)
    stack.receiver.forget()
    stack.upstream.next(status(400))
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "state_webhook_url": stack.receiver.url}
    for _ in range(2):
        assert stack.ask("POST", "/jobs", body, bearer).status == 202
    assert stack.ask("POST", "/webhooks/ping", {"url": stack.receiver.url}, bearer).json["outcome"] == "delivered"
    wanted = {*(f"job.{state}" for state in State), "ping"}
    eventually(lambda: wanted <= {each["type"] for each in stack.receiver.events}, "one event of each type")
    for sent in stack.receiver.requests:
        webhook = described.document["webhooks"][sent.json["type"]]["post"]
        assert described.problems(webhook["requestBody"]["content"]["application/json"]["schema"], sent.json) == []
        given = {name.lower() for name in sent.headers}
        assert {each["name"].lower() for each in webhook["parameters"]} <= given


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("options", "operations", "requests"), [(EDGES, 25, 450), (MADE_UP, 40, 250)])
def test_foreman_answers_as_it_is_described(
    stack: Stack, options: tuple[str, ...], operations: int, requests: int
) -> None:
    """Right and wrong requests made of the description, by every check that schemathesis has."""
    examined = examine(stack, admin_key(stack), seed=1, examples=4, options=options)
    assert not examined.findings, examined.findings[0]
    assert examined.tested == examined.total >= operations
    assert examined.sent >= requests


def test_the_description_is_browsed_from_shipped_files_alone(stack: Stack) -> None:
    """No other host is asked, and the content policy has nothing to complain of; what is tried out is answered."""
    path = executable()
    assert path is not None, MISSING
    with chromium(path) as browser, page_of(browser, stack.url) as page:
        complaints, asked = complaints_of(page), set[str]()
        page.on("request", lambda request: asked.add(request.url))
        page.goto("/docs")
        page.get_by_text("Tell whether the process lives", exact=True).click()
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table").get_by_text('"degraded"').wait_for()
        assert f"{stack.url}/healthz" in asked
        assert {url for url in asked if not url.startswith(f"{stack.url}/")} == set()
        assert complaints == []
