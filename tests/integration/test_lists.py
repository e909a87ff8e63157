"""The lists of models of several upstreams as one: no upstream is trusted to send what foreman can send on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from foreman.domain.upstream import Slots
from foreman.net.origin import parse
from foreman.net.passthrough import Passthrough
from foreman.store.upstreams import Upstreams
from tests.integration.api import Api, running_api
from tests.scripted import Said, Scripted, as_json

#: In Ollama's form; OpenAI's clients are told of it in theirs.
GOOD = as_json({"models": [{"name": "good", "model": "good", "size": 1}]})


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API whose upstreams are set by each test."""
    with running_api(tmp_path) as running:
        yield running


def behind(api: Api, exits: ExitStack, *lists: Said) -> None:
    """Put one upstream for each list behind the API."""
    servers = [exits.enter_context(Scripted([each])) for each in lists]
    ways = {f"u{number}": Passthrough(parse(each.url), 5.0, 5.0, 5.0) for number, each in enumerate(servers)}
    api.rebuild(passthroughs=ways, upstreams=Upstreams(tuple(Slots(name, 1, ("good",)) for name in ways)))


@pytest.mark.parametrize(
    "value", [rb'"\ud800"', b"NaN", b"1e999", b"[" * 900 + b"]" * 900], ids=["half a pair", "NaN", "1e999", "deep"]
)
@pytest.mark.parametrize("form", [b'{"models": [{"name": "bad", "x": %b}]}', b'{"data": [{"id": "bad", "x": %b}]}'])
@pytest.mark.parametrize(("path", "key"), [("/api/tags", "models"), ("/api/ps", "models"), ("/v1/models", "data")])
def test_a_list_that_cannot_be_sent_on_is_none(api: Api, path: str, key: str, form: bytes, value: bytes) -> None:
    """Its upstream is left out, as one that sends no list; where there is no other, that is a bad gateway."""
    bad = Said(body=form % value)
    with ExitStack() as exits:
        behind(api, exits, bad, GOOD)
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        assert [each.get("name", each.get("id")) for each in answer.json[key]] == ["good"]
        behind(api, exits, bad, bad)
        assert api.get(path).status_code == 502


def test_a_model_without_a_utf8_form_is_what_an_upstream_answers(api: Api) -> None:
    """No upstream is known to have it, and no answer of foreman's can name it."""
    with ExitStack() as exits:
        behind(api, exits, as_json({"error": "no"}, 404), as_json({"error": "no"}, 404))
        answer = api.client.simulate_post("/api/show", body=rb'{"model": "\ud800"}')
    assert (answer.status_code, answer.json) == (404, {"error": "no"})
