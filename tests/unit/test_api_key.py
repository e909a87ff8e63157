from __future__ import annotations

import re
from dataclasses import replace

import pytest

from foreman import clock
from foreman.domain.api_key import (
    ANYBODY,
    Allowance,
    ApiKey,
    Caller,
    Presented,
    caller_of,
    digest_of,
    presented,
    within,
    written,
)
from foreman.domain.job import Priority
from foreman.errors import PriorityNotAllowed
from tests.stores import T0, request

KEY_ID = "01M8659KJ8T3KFGQKC1ZY0JFZD"
SECRET = "SrhyvU8KkhaQaSpFipMe1ovM7cOIzbH_jOADQz6kBhQ"
KEY = ApiKey(
    KEY_ID, "laptop", digest_of(SECRET), admin=False, allowance=Allowance(per_minute=3), created_at=T0, revoked_at=None
)


def test_what_is_written_is_read_back() -> None:
    """A new key, made of real dice, is the key that its holder presents."""
    key_id, secret = clock.new_id(), clock.new_secret()
    text = written(key_id, secret)
    assert re.fullmatch(r"fm_[0-9A-Z]{26}_[\w-]{43}", text)
    assert presented(f"Bearer {text}") == Presented(key_id, secret)


#: Headers ``Authorization`` that hold a key.
GOOD = [
    f"Bearer fm_{KEY_ID}_{SECRET}",
    f"bearer fm_{KEY_ID}_{SECRET}",
    f"BEARER   fm_{KEY_ID}_{SECRET} ",
]

#: And that hold none.
BAD = [
    f"fm_{KEY_ID}_{SECRET}",
    f"Basic fm_{KEY_ID}_{SECRET}",
    f"Bearerfm_{KEY_ID}_{SECRET}",
    f"Bearer FM_{KEY_ID}_{SECRET}",
    f"Bearer fm_{KEY_ID.lower()}_{SECRET}",
    f"Bearer fm_{KEY_ID}_{SECRET}x",
    f"Bearer fm_{KEY_ID}_{SECRET[:-1]}",
    f"Bearer fm_{KEY_ID}_{SECRET[:-1]}=",
    f"Bearer fm_{KEY_ID}_{SECRET[:-1]}é",
    f"Bearer fm_{KEY_ID}_{SECRET}, Bearer fm_{KEY_ID}_{SECRET}",
    f"Bearer fm_8{KEY_ID[1:]}_{SECRET}",
    "Bearer x",
    "Bearer ",
    "",
    "Bearer " + "x" * 100_000,
    "Bearer fm_'; DROP TABLE api_keys; --",
]


@pytest.mark.parametrize("header", GOOD)
def test_a_header_holds_a_key(header: str) -> None:
    """The scheme in any case."""
    assert presented(header) == Presented(KEY_ID, SECRET)


@pytest.mark.parametrize("header", BAD, ids=range(len(BAD)))
def test_a_header_holds_no_key(header: str) -> None:
    """The key to the letter, and nothing around it."""
    assert presented(header) is None


def test_a_genuine_key_tells_its_caller() -> None:
    """Who owns what is submitted with it, what it sees, and how much it may have."""
    assert caller_of(Presented(KEY_ID, SECRET), KEY) == Caller(
        KEY_ID, sees_all=False, allowance=Allowance(per_minute=3)
    )


def test_a_key_that_is_not_good_tells_nobody() -> None:
    """Unknown, with another secret, or revoked: no difference to see."""
    other = SECRET[:-1] + "R"
    revoked = replace(KEY, revoked_at=T0)
    assert caller_of(Presented(KEY_ID, other), KEY) is None
    assert caller_of(Presented(KEY_ID, SECRET), None) is None
    assert caller_of(Presented(KEY_ID, SECRET), revoked) is None


def test_an_unknown_id_is_compared_with_what_no_secret_has() -> None:
    """The comparison for a row that is not there can never come out equal."""
    assert caller_of(Presented(KEY_ID, ""), None) is None


def test_a_plain_key_sees_its_own_and_an_admin_everything() -> None:
    """As does everybody where keys are off."""
    assert Caller("k", sees_all=False, allowance=Allowance()).view == "k"
    assert Caller("k", sees_all=True, allowance=Allowance()).view is None
    assert ANYBODY.view is None


def test_secrets_are_in_no_representation() -> None:
    """What a traceback or a log line shows of a key is not the key."""
    assert SECRET not in repr(Presented(KEY_ID, SECRET))
    assert digest_of(SECRET) not in repr(KEY)


#: The highest priority that a key allows, what is submitted, whether it was named, and what comes of it.
PRIORITIES = [
    (None, Priority.INTERACTIVE, True, Priority.INTERACTIVE),
    (Priority.INTERACTIVE, Priority.INTERACTIVE, True, Priority.INTERACTIVE),
    (Priority.NORMAL, Priority.INTERACTIVE, True, None),
    (Priority.NORMAL, Priority.INTERACTIVE, False, Priority.NORMAL),
    (Priority.NORMAL, Priority.NORMAL, True, Priority.NORMAL),
    (Priority.NORMAL, Priority.BATCH, True, Priority.BATCH),
    (Priority.BATCH, Priority.NORMAL, True, None),
    (Priority.BATCH, Priority.NORMAL, False, Priority.BATCH),
    (Priority.BATCH, Priority.BATCH, True, Priority.BATCH),
]


@pytest.mark.parametrize(("highest", "given", "asked", "becomes"), PRIORITIES)
def test_a_priority_is_kept_lowered_or_refused(
    highest: Priority | None,
    given: Priority,
    asked: bool,  # noqa: FBT001  a column of the table
    becomes: Priority | None,
) -> None:
    """Refused only where it was named: a client that cannot name one gets what its key allows."""
    submission = request(priority=given)
    allowance = Allowance(max_priority=highest)
    if becomes is None:
        with pytest.raises(PriorityNotAllowed) as refused:
            within(allowance, submission, asked=asked)
        assert highest is not None
        assert refused.value.highest == highest.label
    else:
        assert within(allowance, submission, asked=asked) == request(priority=becomes)
