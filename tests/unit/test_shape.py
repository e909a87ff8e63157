from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foreman.api.description.document import describe
from foreman.domain import submission
from foreman.domain.address import MAX_URL_CHARS
from foreman.domain.json_value import Findings
from foreman.domain.openai_chat import CHAT_COMPLETION
from foreman.domain.shape import Number, Object, Shape, Text, from_text
from foreman.domain.submission import SUBMISSION
from foreman.domain.webhook_order import PING, RECOVERY
from tests.described import Described

DESCRIBED = Described(describe(keys=False))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "a", "5m", "\x00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
#: Values that mean something somewhere, so that bodies are right now and then.
TELLING = st.sampled_from(
    [
        *("m", " ", "user", "tool", "batch", "done", "json", "-1", "data:;base64,", "https://a.example", "high"),
        *(["done"], ["done", "done"], [], ["done", "x"], {}, {"type": "text"}, {"type": "json_object"}, 1, 1.0, 0, 1.5),
        *({"type": "json_schema", "json_schema": {"schema": {}}}, [{}], "2026-11-24T03:39:53Z", "http://x", 2_592_001),
    ]
)
IMAGE = {"type": "image_url"}
PARTS = [[{"type": "text", "text": "a"}], [IMAGE | {"image_url": "data:;base64,"}], [IMAGE]]
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "wizard"]) | JSON,
            "content": st.sampled_from(["a", "", *PARTS]) | JSON,
            "tool_calls": st.sampled_from([[{}], [{"function": {"name": "f", "arguments": {}}}], []]) | JSON,
            "images": st.sampled_from([[], ["aGk="], [1]]) | JSON,
            "thinking": st.sampled_from(["", "a"]) | JSON,
        },
    ),
    max_size=2,
)


#: What each of them takes as it is.
RIGHT: dict[str, dict[str, Any]] = {
    SUBMISSION.name: {"model": "m", "messages": [{"role": "user", "content": "a"}]},
    CHAT_COMPLETION.name: {"model": "m", "messages": [{"role": "user", "content": "a"}]},
    RECOVERY.name: {"since": "2026-11-24T03:39:53Z"},
    PING.name: {"url": "https://a.example"},
}


def bodies(shape: Object) -> st.SearchStrategy[Any]:
    """Bodies that ``shape`` takes, but for a member or two, which may be right as well."""
    names = st.sampled_from([*(each.name for each in shape.members), "messages", "other"])
    changes = st.dictionaries(names, TELLING | MESSAGES | JSON, max_size=2)
    return changes.map(lambda changed: RIGHT[shape.name] | changed) | JSON


def both(shape: Shape, value: object) -> tuple[list[str], list[str]]:
    """What ``shape`` finds in ``value``, and what its own schema does."""
    found = Findings()
    shape.check(value, "", found)
    return [each.pointer for each in found.problems()], DESCRIBED.problems(shape.schema(), value)


@pytest.mark.parametrize("shape", [SUBMISSION, CHAT_COMPLETION, RECOVERY, PING], ids=lambda shape: shape.name)
def test_a_shape_takes_what_its_schema_takes(shape: Object) -> None:
    """Neither is stricter than the other, in whatever way a body is right or wrong."""

    @settings(max_examples=300)
    @given(bodies(shape))
    @example(RIGHT[shape.name])
    @example({"model": "m", "messages": [], "state_webhook_events": ["done"]})
    @example({"url": "a" * (MAX_URL_CHARS + 1)})
    def hold(body: object) -> None:
        found, refused = both(shape, body)
        assert bool(found) == bool(refused), (found, refused)

    hold()


def test_a_member_that_may_be_absent_may_be_null() -> None:
    """For the shape, and for the schema: clients write out every field."""
    body = dict.fromkeys(submission.OWN_KEYS) | {"model": "m", "messages": []}
    assert both(SUBMISSION, body) == ([], [])


@pytest.mark.parametrize(
    ("text", "whole", "value"),
    [
        *(("1", True, 1.0), ("1.0", True, "1.0"), ("-1", True, -1.0), ("1e-1", False, 0.1), ("00.5", False, 0.5)),
        *(("٣", True, "٣"), ("", False, ""), ("1e999", False, float("inf")), ("nan", False, "nan")),
    ],
)
def test_a_text_is_a_number_where_one_is_wanted(text: str, whole: bool, value: object) -> None:  # noqa: FBT001
    """As JSON writes it; anything else stays a text, which is no number."""
    assert from_text(Number(0, None, "", whole=whole), text) == value
    assert from_text(Text(""), text) == text
