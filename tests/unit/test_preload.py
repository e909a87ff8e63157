from __future__ import annotations

import json
from typing import Any

import pytest

from foreman.domain.preload import keep_alive_s, preload


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300),
        (0.5, 0.5),
        (-2, -2),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("-1m", -60),
        ("300ms", 0.3),
        ("1µs", 1e-6),
        ("0", 0),
        ("-1", -1),
        ("0s", 0),
        ("", None),
        ("m", None),
        ("5 m", None),
        ("5d", None),
        ("5m" * 40, None),
        ("٥m", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_keep_alive_is_read_as_ollama_reads_it(value: object, seconds: float | None) -> None:
    """A number is seconds, a string a Go duration, anything else no keep_alive."""
    assert keep_alive_s(value) == (None if seconds is None else pytest.approx(seconds))


def body(**keys: Any) -> bytes:
    """A job's payload with ``keys``."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | keys).encode()


def loaded(payload: bytes) -> dict[str, Any] | None:
    """The preload of ``payload``, decoded."""
    call = preload(payload)
    return None if call is None else json.loads(call)


def test_a_preload_has_what_decides_how_a_model_is_loaded_and_nothing_else() -> None:
    """The same options and keep_alive, or the real call would load the model anew; no tools, no text."""
    assert loaded(body(options={"num_ctx": 8192}, keep_alive="1h", tools=[{}], format="json", think=True)) == {
        "model": "m",
        "options": {"num_ctx": 8192},
        "keep_alive": "1h",
        "messages": [],
        "stream": False,
    }


@pytest.mark.parametrize("keep_alive", [0, 0.0, -0.0, "+0", "0s", "0h0m", 1e-10])
def test_a_preload_never_unloads(keep_alive: float | str) -> None:
    """With empty messages a keep_alive of zero means unload, the opposite of what the call is for."""
    call = loaded(body(keep_alive=keep_alive))
    assert call is not None
    assert "keep_alive" not in call


def test_a_job_that_only_unloads_is_not_preceded_by_a_load() -> None:
    """Loading a model to unload it at once would take minutes for nothing."""
    assert preload(body(messages=[], keep_alive=0)) is None
    assert preload(body(messages=[], keep_alive=60)) is not None
