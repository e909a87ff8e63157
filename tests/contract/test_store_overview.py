"""Counts of jobs for people to look at: right as far as they go, and of the same cost over any number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foreman.domain.api_key import Allowance, Caller
from foreman.domain.job import JobRequest, Priority
from foreman.domain.lifecycle import State
from foreman.domain.session import Session
from foreman.store.overview import Overview
from foreman.store.sessions import Sessions
from tests.stores import T0, Engine, Stores, new_id, request

ALICE, BOB = (Caller(f"01KEY{name:0>21}", sees_all=False, allowance=Allowance()) for name in ("A", "B"))


@pytest.fixture
def stores(engine: Engine) -> Stores:
    """An empty database."""
    return Stores(slots=8)


def _submit(stores: Stores, caller: Caller, asked: JobRequest) -> str:
    return stores.jobs.submit(asked, job_id=new_id(), key=None, now=T0, caller=caller).job.id


def test_jobs_are_counted_by_state_model_and_priority(stores: Stores) -> None:
    """Everybody's; a state without a job is there with 0, a model without one that waits is not."""
    stores.done(request(model="done"))
    stores.working(request(model="works"))
    for priority in (Priority.BATCH, Priority.BATCH, Priority.INTERACTIVE):
        stores.submit(request(model="waits", priority=priority))
    counts = Overview().counts(None)
    assert counts.states == {
        State.QUEUED: 3,
        State.LOADING: 0,
        State.WORKING: 1,
        State.DONE: 1,
        State.FAILED: 0,
    }
    assert counts.waiting == {"waits": {Priority.INTERACTIVE: 1, Priority.NORMAL: 0, Priority.BATCH: 2}}
    assert not counts.newest_only


def test_counting_stops_at_its_bound(stores: Stores) -> None:
    """At so many of each state, and of those that wait in all."""
    for number in range(5):
        stores.submit(request(model=f"m{number}"))
    counts = replace(Overview(), counted=3).counts(None)
    assert (counts.states[State.QUEUED], counts.at_most) == (3, 3)
    assert sum(sum(each.values()) for each in counts.waiting.values()) == 3


def test_a_key_has_its_own_jobs_counted(stores: Stores) -> None:
    """Its newest ones, and it is told if there are more."""
    for model in ("old", "new", "newest"):
        _submit(stores, ALICE, request(model=model))
    _submit(stores, BOB, request(model="theirs"))
    counts = Overview().counts(ALICE.owner)
    assert (counts.states[State.QUEUED], sorted(counts.waiting)) == (3, ["new", "newest", "old"])
    assert not counts.newest_only
    newest = replace(Overview(), own=2).counts(ALICE.owner)
    assert (newest.states[State.QUEUED], sorted(newest.waiting), newest.newest_only) == (2, ["new", "newest"], True)


def test_what_is_sent_upstream_can_be_read(stores: Stores) -> None:
    """Its very bytes; none of a job that never was."""
    asked = request()
    assert stores.jobs.payload(stores.submit(asked).id) == asked.payload
    assert stores.jobs.payload("01TEST") is None


def test_a_session_is_found_until_it_is_removed(engine: Engine) -> None:
    """By the digest of its token; those that are over go when another begins."""
    sessions = Sessions()
    sessions.add("a" * 64, Session("K", T0 + 10), T0)
    sessions.add("b" * 64, Session("K", T0 + 99), T0 + 5)
    assert sessions.find("a" * 64) == Session("K", T0 + 10)
    sessions.add("c" * 64, Session("K", T0 + 99), T0 + 10)
    assert sessions.find("a" * 64) is None
    sessions.remove("b" * 64)
    assert sessions.find("b" * 64) is None
    assert sessions.find("c" * 64) == Session("K", T0 + 99)
