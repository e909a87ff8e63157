"""What the page is made of, each for itself: words for numbers, chats taken apart, snapshots that are shared."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from foreman.api.ui import wording
from foreman.api.ui.snapshots import KEPT, Snapshots
from foreman.api.ui.submit import body_of, wrong_fields
from foreman.api.ui.transcript import Figures, answer_of, figures_of, request_of
from foreman.errors import Problem, StoreUnavailable


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (999.4, "999 ms"),
        (1000, "1.0 s"),
        (9949, "9.9 s"),
        (10_000, "10 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (185_000, "3 min 5 s"),
        (7_800_000, "2 h 10 min"),
        (86_400_000, "1 d"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_durations_are_told_in_two_units_at_most(ms: float, text: str) -> None:
    """As people say them."""
    assert wording.duration(ms) == text


@pytest.mark.parametrize(
    ("size_b", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20 * 2**20, "20 MiB"), (5 * 2**40, "5120 GiB")],
)
def test_sizes_are_told_in_the_unit_that_fits(size_b: int, text: str) -> None:
    """Powers of 1024, and named so."""
    assert wording.size(size_b) == text


def test_a_number_that_was_not_counted_to_its_end_says_so() -> None:
    """With a plus."""
    assert [wording.counted(count, 1000) for count in (0, 999, 1000)] == ["0", "999", "1,000+"]


def test_a_long_text_is_cut_and_says_how_much_is_left_out() -> None:
    """A page is to be read."""
    assert wording.cut("x" * wording.SHOWN_CHARS) == "x" * wording.SHOWN_CHARS
    assert wording.cut("x" * (wording.SHOWN_CHARS + 1500)).endswith("\n… and 1,500 characters more")


def test_a_request_is_taken_apart_into_its_messages() -> None:
    """What is not text is shown as JSON beside it."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi", "images": ["aGk="]}, {"role": "tool"}]}
    request = request_of(json.dumps(body).encode())
    assert [(each.role, each.content) for each in request.messages] == [("user", "Hi"), ("tool", "")]
    assert '"images"' in request.messages[0].more
    assert json.loads(request.whole) == body


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"messages": 5}', b'{"a": "' + b"x" * 2**21 + b'"}']
)
def test_what_is_no_request_is_shown_as_it_is(payload: bytes) -> None:
    """Whatever it is, and however long: cut, and never an error."""
    request = request_of(payload)
    assert request.messages == ()
    assert len(request.whole) < 2 * wording.SHOWN_CHARS


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"role": "assistant", "content": "Hi", "thinking": "Hm"}, ("assistant", "Hi", "Hm", "")),
        ({"content": None}, ("?", "", "", "")),
        ({"role": 5, "content": [1]}, ("5", "[\n  1\n]", "", "")),
        ("text", ("?", "", "", '"text"')),
    ],
)
def test_an_answer_may_be_anything(message: Any, shown: tuple[str, str, str, str]) -> None:
    """An upstream is not ours; what it says is shown."""
    found = answer_of(json.dumps({"message": message}).encode())
    assert found is not None
    assert (found.role, found.content, found.thinking, found.more) == shown


@pytest.mark.parametrize("completion", [b"", b"{}", b"[]", b'{"message": null}'])
def test_a_completion_without_a_message_has_no_answer(completion: bytes) -> None:
    """Nothing is made up."""
    assert answer_of(completion) is None


@pytest.mark.parametrize(
    ("stats", "figures"),
    [
        (None, None),
        ({}, Figures(None, None, None, None)),
        (
            {"eval_count": 50, "eval_duration": 2_000_000_000, "prompt_eval_count": 7, "total_duration": 3e9},
            Figures(7, 50, 25.0, 3000.0),
        ),
        ({"eval_count": 0, "eval_duration": 0}, Figures(None, 0, None, None)),
        ({"eval_count": "many", "eval_duration": True, "total_duration": -1}, Figures(None, None, None, None)),
        ({"eval_count": 10**400, "total_duration": 1e999}, Figures(None, None, None, None)),
    ],
)
def test_figures_are_numbers_or_nothing(stats: Any, figures: Figures | None) -> None:
    """Stats are the upstream's, and JSON has numbers that nobody can show."""
    assert figures_of(stats) == figures


def test_within_its_life_a_snapshot_is_looked_up_once() -> None:
    """For each thing by itself, and again when it is over."""
    now, looks = [0.0], []
    snapshots: Snapshots[int] = Snapshots(1.0, now_s=lambda: now[0])

    def look() -> int:
        looks.append(now[0])
        return len(looks)

    assert [snapshots.get("a", look), snapshots.get("a", look), snapshots.get("b", look)] == [1, 1, 2]
    now[0] = 1.0
    assert [snapshots.get("a", look), snapshots.anew("a", look), snapshots.get("a", look)] == [3, 4, 4]


def test_what_takes_long_to_look_up_is_looked_up_seldom() -> None:
    """Fifty times as long as it took: a slow machine looks less often, instead of doing nothing else."""
    now, looks = [0.0], []
    snapshots: Snapshots[int] = Snapshots(1.0, now_s=lambda: now[0])

    def look() -> int:
        now[0] += 0.5
        looks.append(now[0])
        return len(looks)

    assert snapshots.get("a", look) == 1
    now[0] = 25.0
    assert snapshots.get("a", look) == 1
    now[0] = 25.5
    assert snapshots.get("a", look) == 2


def test_nobody_waits_for_anothers_look() -> None:
    """Who comes meanwhile is shown what was there before: a slow database holds one thread, not all."""
    now = [0.0]
    snapshots: Snapshots[str] = Snapshots(1.0, now_s=lambda: now[0])
    snapshots.get("a", lambda: "old")
    now[0] = 5.0
    looking, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        looking.set()
        assert go_on.wait(30)
        return "new"

    other = threading.Thread(target=snapshots.get, args=("a", slow))
    other.start()
    assert looking.wait(30)
    assert snapshots.get("a", lambda: "mine") == "old"
    go_on.set()
    other.join(30)
    assert snapshots.get("a", lambda: "mine") == "new"


def test_a_look_that_fails_leaves_the_next_one_to_look() -> None:
    """The error is for whoever looked."""
    snapshots: Snapshots[str] = Snapshots(1.0, now_s=lambda: 0.0)

    def fail() -> str:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        snapshots.get("a", fail)
    assert snapshots.get("a", lambda: "found") == "found"


def test_snapshots_do_not_pile_up() -> None:
    """Whoever asks for ever new filters drives out the oldest."""
    snapshots: Snapshots[int] = Snapshots(1.0, now_s=lambda: 0.0)
    for number in range(KEPT + 1):
        snapshots.get(number, lambda number=number: number)  # type: ignore[misc]  # mypy sees no default
    assert snapshots.get(0, lambda: -1) == -1
    assert snapshots.get(KEPT, lambda: -1) == KEPT


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({}, {"messages": []}),
        ({"model": " m ", "prompt": "a\r\nb"}, {"messages": [{"role": "user", "content": "a\nb"}], "model": "m"}),
        ({"system": "s"}, {"messages": [{"role": "system", "content": "s"}]}),
        ({"more": '{"messages": [1], "model": "x"}'}, {"messages": [1], "model": "x"}),
        ({"more": '{"model": "x"}', "model": "m"}, {"messages": [], "model": "m"}),
        ({"webhook_url": " u "}, {"messages": [], "state_webhook_url": "u"}),
        ({"metadata": '{"a": 1}'}, {"messages": [], "metadata": {"a": 1}}),
    ],
)
def test_a_form_stands_for_a_body(form: dict[str, str], body: dict[str, Any]) -> None:
    """Fields that were left empty are not in it; what has a field of its own comes from there."""
    assert body_of(form) == (body, {})


def test_a_problem_stands_at_its_field() -> None:
    """What has none is named by its place in the body."""
    problems = (
        Problem("/model", "is required"),
        Problem("/messages/0/role", "must be"),
        Problem("/options/seed", "must be an integer"),
        Problem("", "must be an object"),
    )
    assert wrong_fields(problems) == {
        "model": "is required",
        "prompt": "must be",
        "more": "/options/seed must be an integer",
    }
