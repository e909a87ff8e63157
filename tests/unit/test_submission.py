from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.domain import json_value, submission
from foreman.domain.address import Policy
from foreman.domain.job import JobRequest, Limits, Priority, Webhook
from foreman.domain.lifecycle import State
from foreman.errors import SubmissionInvalid

DEFAULTS = Limits(
    ttl_s=86_400,
    start_deadline_s=None,
    load_timeout_s=600,
    exec_timeout_s=3600,
    stall_timeout_s=300,
    max_attempts=None,
)
#: The least that is a job.
JOB: dict[str, Any] = {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}]}
HOOK = "https://example.com/hook"


def read(body: object) -> JobRequest:
    """The job, with the defaults above."""
    return submission.read(body, defaults=DEFAULTS, policy=Policy())


def problems(body: object) -> dict[str, str]:
    """Pointer → detail of all that is wrong with ``body``."""
    with pytest.raises(SubmissionInvalid) as raised:
        read(body)
    found = {problem.pointer: problem.detail for problem in raised.value.problems}
    assert len(found) == len(raised.value.problems), "one problem for each place"
    return found


def test_the_least_job_gets_every_default() -> None:
    """A model and messages are enough; everything else comes from the settings."""
    job = read(JOB)
    assert job.model == "smollm2"
    assert (job.metadata, job.priority, job.limits, job.webhook) == ({}, Priority.NORMAL, DEFAULTS, None)
    assert job.payload == b'{"model":"smollm2","messages":[{"role":"user","content":"hi"}]}'


def test_foremans_keys_are_taken_and_never_forwarded() -> None:
    """What is meant for foreman stays here, in the values of the job."""
    job = read(
        JOB
        | {
            "state_webhook_url": HOOK,
            "state_webhook_events": ["done", "failed"],
            "metadata": {"order": 7},
            "priority": "batch",
            "ttl_s": 0,
            "start_deadline_s": 0.5,
            "load_timeout_s": 1,
            "exec_timeout_s": 2.5,
            "stall_timeout_s": 3,
            "max_attempts": 1,
            "stream": True,
        }
    )
    assert json.loads(job.payload) == JOB
    assert job.webhook == Webhook(HOOK, frozenset({State.DONE, State.FAILED}))
    assert (job.metadata, job.priority) == ({"order": 7}, Priority.BATCH)
    assert job.limits == Limits(0, 0.5, 1, 2.5, 3, 1)


def test_every_other_key_is_forwarded_untouched_and_in_order() -> None:
    """A key foreman does not know may be one that the model server will know tomorrow; a misspelt one of ours too."""
    body = {"zeta": [1, 1.5, None, {"é": "😀"}], "priorty": "batch"} | JOB | {"options": {"seed": 2**64 - 1}}
    payload = read(body).payload
    assert payload.decode() == json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def test_all_problems_are_found_at_once() -> None:
    """A client mends its job in one go, whichever parts of it are wrong."""
    found = problems(
        {
            "model": "",
            "messages": [{"role": "wizard", "content": 3}, "hi", {"role": "user"}],
            "tools": [1],
            "options": [],
            "ttl_s": -1,
            "priority": "urgent",
            "state_webhook_url": "ftp://example.com",
            "state_webhook_events": ["done", "dnoe"],
            "note": "\ud800",
        }
    )
    assert set(found) == {
        "/model",
        "/messages/0/role",
        "/messages/0/content",
        "/messages/1",
        "/messages/2/content",
        "/tools/0",
        "/options",
        "/ttl_s",
        "/priority",
        "/state_webhook_url",
        "/state_webhook_events/1",
        "/note",
    }


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"model": None}, "/model"),
        ({"model": 1}, "/model"),
        ({"model": " "}, "/model"),
        ({"model": "a\0b"}, "/model"),
        ({"model": "m" * 594}, "/model"),
        ({"messages": None}, "/messages"),
        ({"messages": {}}, "/messages"),
        ({"messages": [None]}, "/messages/0"),
        ({"messages": [{"content": "hi"}]}, "/messages/0/role"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "/messages/0/content"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "/messages/0/content"),
        ({"messages": [{"role": "user", "content": "", "images": "abc"}]}, "/messages/0/images"),
        ({"messages": [{"role": "user", "content": "", "images": [1]}]}, "/messages/0/images/0"),
        ({"messages": [{"role": "user", "content": "", "tool_calls": {}}]}, "/messages/0/tool_calls"),
        ({"messages": [{"role": "user", "content": "", "tool_calls": [1]}]}, "/messages/0/tool_calls/0"),
        ({"messages": [{"role": "user", "content": "", "thinking": 1}]}, "/messages/0/thinking"),
        ({"tools": {}}, "/tools"),
        ({"format": 1}, "/format"),
        ({"format": ["json"]}, "/format"),
        ({"options": "hot"}, "/options"),
        ({"keep_alive": "soon"}, "/keep_alive"),
        ({"keep_alive": "5"}, None),
        ({"keep_alive": True}, "/keep_alive"),
        ({"keep_alive": "-1"}, None),
        ({"keep_alive": "1h30m0.5s"}, None),
        ({"keep_alive": 10**400}, "/keep_alive"),
        ({"think": 1}, "/think"),
        ({"think": "high"}, None),
        ({"stream": "no"}, "/stream"),
        ({"stream": None}, None),
        ({"format": {"type": "object"}}, None),
        ({"messages": []}, None),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, None),
        ({"messages": [{"role": "User", "images": ["aGk="]}]}, None),
        ({"messages": [{"role": "tool", "content": "", "tool_name": "now"}]}, None),
    ],
)
def test_each_part_of_the_native_payload_is_checked(change: dict[str, Any], pointer: str | None) -> None:
    """What Ollama would refuse, or misread, is refused at the place where it is wrong; all else is let through."""
    if pointer is None:
        read(JOB | change)
    else:
        assert set(problems(JOB | change)) == {pointer}


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"ttl_s": 2_592_001}, "/ttl_s", "must be a number of seconds from 0 to 2592000"),
        ({"ttl_s": True}, "/ttl_s", "must be a number of seconds from 0 to 2592000"),
        ({"ttl_s": "60"}, "/ttl_s", "must be a number of seconds from 0 to 2592000"),
        ({"exec_timeout_s": 0}, "/exec_timeout_s", "must be a number of seconds above 0 and up to 2592000"),
        ({"start_deadline_s": -1}, "/start_deadline_s", "must be a number of seconds above 0 and up to 2592000"),
        ({"load_timeout_s": []}, "/load_timeout_s", "must be a number of seconds above 0 and up to 2592000"),
        ({"max_attempts": 0}, "/max_attempts", "must be a whole number from 1 to 1000"),
        ({"max_attempts": 1.5}, "/max_attempts", "must be a whole number from 1 to 1000"),
        ({"priority": 1}, "/priority", "must be one of interactive, normal, batch"),
        ({"metadata": []}, "/metadata", "must be an object"),
        ({"metadata": {"k": "é" * 8192}}, "/metadata", "must be at most 16384 bytes as JSON"),
        ({"state_webhook_url": 7}, "/state_webhook_url", "must be a string: an absolute URL"),
        (
            {"state_webhook_events": ["done"]},
            "/state_webhook_events",
            "needs a state_webhook_url to send the events to",
        ),
        (
            {"state_webhook_url": HOOK, "state_webhook_events": []},
            "/state_webhook_events",
            "must be a list of one or more of queued, loading, working, done, failed",
        ),
        (
            {"state_webhook_url": HOOK, "state_webhook_events": ["done", "done"]},
            "/state_webhook_events/1",
            "must not be named twice",
        ),
        (
            {"state_webhook_url": HOOK, "state_webhook_events": [["done"]]},
            "/state_webhook_events/0",
            "must be one of queued, loading, working, done, failed",
        ),
    ],
)
def test_a_problem_with_foremans_keys_says_what_would_be_right(
    change: dict[str, Any], pointer: str, detail: str
) -> None:
    """The message names the unit and the range, so that nobody needs the manual to mend a job."""
    assert problems(JOB | change) == {pointer: detail}


def test_null_counts_as_absent() -> None:
    """Clients that write out every field of a record, as most do, mean nothing by null."""
    keys = submission.OWN_KEYS | {"tools", "format", "options", "keep_alive", "think", "stream"}
    assert read(JOB | dict.fromkeys(keys)).limits == DEFAULTS


@pytest.mark.parametrize("body", [None, [], "job", 1, True])
def test_a_body_that_is_no_object_is_one_problem_of_the_whole(body: object) -> None:
    """The empty pointer is the whole body."""
    assert problems(body) == {"": "must be a JSON object"}


def test_pointers_escape_what_rfc_6901_escapes() -> None:
    """``~`` and ``/`` in a key must not be taken for parts of the pointer."""
    assert set(problems(JOB | {"a/b": {"m~n": [10**30]}})) == {"/a~1b/m~0n/0"}


def test_what_a_pointer_cannot_show_is_reported_at_its_nearest_ancestor() -> None:
    """An answer that quoted half a surrogate pair could not be sent, and one that quoted long keys would never end."""
    assert set(problems(JOB | {"x": {"\ud800": "\ud800"}})) == {"/x"}
    assert set(problems(JOB | {"x": {"k" * 2000: float("inf")}})) == {"/x"}


def test_depth_is_a_problem_and_no_crash() -> None:
    """Sixty-four levels are let through, the body being the first; a hundred thousand are one problem."""
    read(JOB | {"x": nested(63)})
    (pointer,) = problems(JOB | {"x": nested(100_000)})
    assert pointer == "/x" + "/0" * 63


def nested(levels: int) -> list[Any]:
    """Lists in lists, ``levels`` deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_body_of_nothing_but_problems_gets_a_bounded_answer() -> None:
    """An answer must not be larger than what was asked."""
    with pytest.raises(SubmissionInvalid) as raised:
        read({"messages": [0] * 100_000})
    assert len(raised.value.problems) == json_value.MAX_PROBLEMS


def test_a_body_of_too_many_values_is_refused_without_a_look_at_each() -> None:
    """Twenty megabytes can hold ten million values; nobody needs a tenth of that."""
    assert problems(JOB | {"x": [0] * (json_value.MAX_VALUES + 1)}) == {
        "/x": "must leave the body with no more than 1000000 values"
    }


def test_the_digest_depends_on_what_is_said_and_not_on_the_order_of_keys() -> None:
    """An idempotency key is bound to the meaning of a body, foreman's own keys included."""
    other_order = dict(reversed(JOB.items()))
    assert read(JOB).digest == read(other_order).digest
    assert read(JOB).digest != read(JOB | {"priority": "batch"}).digest
    assert len(read(JOB).digest) == 64


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
keys = st.sampled_from(
    [*sorted(submission.OWN_KEYS), "model", "messages", "tools", "format", "options", "keep_alive", "think", "stream"]
)
messages = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "images", "tool_calls", "thinking"]),
        json_values | st.sampled_from(["user", "assistant"]),
    )
)


@given(st.dictionaries(keys | st.text(), json_values | messages) | json_values)
def test_no_json_does_anything_but_make_a_job_or_a_list_of_problems(body: object) -> None:
    """Whatever the decoder hands over, the answer is 202 or 422 and both can be written as JSON."""
    try:
        payload = json.loads(read(body).payload)
    except SubmissionInvalid as invalid:
        problems = invalid.problems
    else:
        assert isinstance(body, dict)
        assert payload["model"] == body["model"]
        return
    assert problems
    assert all(problem.pointer.encode() or problem.detail.encode() for problem in problems)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key not in submission.OWN_KEYS), plain))
def test_a_valid_job_is_forwarded_as_it_came(extra: dict[str, Any]) -> None:
    """Nothing is lost, added, renamed or rounded on the way through."""
    native = {"tools", "format", "options", "keep_alive", "think", "stream"}
    body = {key: value for key, value in extra.items() if key not in native} | JOB
    assert json.loads(read(body).payload) == body
