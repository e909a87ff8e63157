from __future__ import annotations

import json

import pytest

from foreman.domain.delivery import Dead, Delivered, RetryIn, Stopped
from foreman.domain.lifecycle import State
from foreman.errors import StaleLease
from tests.stores import (
    BOOM,
    BUSY,
    GONE,
    LATE,
    OK,
    ORIGIN,
    SENDING_MS,
    T0,
    URL,
    Engine,
    Stores,
    completion,
    counts,
    quiet,
    request,
    together,
)


def test_a_sending_holds_all_that_a_try_needs(engine: Engine, stores: Stores) -> None:
    """URL, origin, the exact bytes, which try this is, and the token under which its outcome is recorded."""
    job = stores.submit()
    sending = stores.events.claim(job.id, T0)
    assert sending is not None
    assert (sending.event_id, sending.sequence, sending.attempt, sending.token) == (f"{job.id}-queued", 1, 1, 1)
    assert (sending.url, sending.origin, sending.terminal) == (URL, ORIGIN, False)
    assert json.loads(sending.body)["job_id"] == job.id
    assert [(row[0], row[1]) for row in engine.rows("SELECT attempt, at FROM attempts")] == [(1, T0)]


def test_every_try_sends_the_same_bytes(stores: Stores) -> None:
    """The body is built once, at the transition, whatever has become of the job since."""
    job = stores.submit()
    first = stores.send(job.id, BUSY)
    stores.claims.begin(stores.claim(), State.LOADING, T0 + 500)
    second = stores.send(job.id, at=T0 + 1000)
    assert (second.attempt, second.body) == (2, first.body)


def test_events_go_out_in_the_order_of_the_states(stores: Stores) -> None:
    """Only the first pending event can be claimed; the next has its turn when that one is accepted."""
    job_id = stores.done().id
    assert [event.next_attempt_at for event in stores.events.of(job_id)] == [T0, None, None, None]
    sent = [stores.send(job_id, at=T0 + number).state for number in range(4)]
    assert sent == [State.QUEUED, State.LOADING, State.WORKING, State.DONE]
    assert stores.events.claim(job_id, T0 + 10) is None
    shown = stores.events.of(job_id)
    assert [event.status for event in shown] == ["delivered"] * 4
    assert [event.delivered_at for event in shown] == [T0, T0 + 1, T0 + 2, T0 + 3]
    assert [event.next_attempt_at for event in shown] == [None] * 4


def test_a_failed_try_holds_back_all_that_follow(stores: Stores) -> None:
    """Event n+1 is not tried before n was accepted or given up, however late n is."""
    job_id = stores.done().id
    stores.send(job_id, BUSY)
    assert stores.events.claim(job_id, T0 + 999) is None
    assert [event.next_attempt_at for event in stores.events.of(job_id)] == [T0 + 1000, None, None, None]
    assert stores.send(job_id, at=T0 + 1000).state is State.QUEUED


def test_what_came_of_a_try_is_shown(engine: Engine, stores: Stores) -> None:
    """The last status or error of each event, and every attempt by itself."""
    job = stores.submit()
    stores.send(job.id, BUSY)
    stores.send(job.id, LATE, RetryIn(2.0), at=T0 + 1000)
    [event] = stores.events.of(job.id)
    assert (event.status, event.attempts, event.last_status, event.last_error) == ("pending", 2, None, "timeout")
    assert event.next_attempt_at == T0 + 3000
    assert engine.rows("SELECT attempt, duration_ms, status, error, excerpt FROM attempts ORDER BY attempt") == [
        (1, 3, 503, None, ""),
        (2, 10_000, None, "timeout", ""),
    ]


def test_a_dead_event_lets_the_next_one_pass(stores: Stores) -> None:
    """A receiver that was away for one event is still told of the others."""
    job_id = stores.done().id
    stores.send(job_id, BUSY, Dead(), at=T0 + 5)
    assert [(event.status, event.next_attempt_at) for event in stores.events.of(job_id)] == [
        ("dead", None),
        ("pending", T0 + 5),
        ("pending", None),
        ("pending", None),
    ]
    assert stores.send(job_id, at=T0 + 5).state is State.LOADING


def test_410_stops_what_waits_and_what_will_come(stores: Stores) -> None:
    """The receiver wants no more of this job; other jobs of the same URL are not concerned."""
    claim = stores.working()
    job_id = claim.job.id
    other = stores.submit()
    stores.send(job_id, GONE, Stopped())
    assert stores.statuses(job_id) == [("queued", "dead"), ("loading", "skipped"), ("working", "skipped")]
    stores.claims.fail(claim, BOOM, T0 + 1)
    assert stores.statuses(job_id)[-1] == ("failed", "skipped")
    assert stores.events.claim(job_id, T0 + 10**9) is None
    assert stores.send(other.id).state is State.QUEUED


def test_a_state_that_is_not_wanted_is_skipped_without_a_gap_in_the_order(engine: Engine, stores: Stores) -> None:
    """``state_webhook_events`` leaves events out; those that are sent keep the sequence of the states."""
    job_id = stores.done(request(events=frozenset({State.LOADING, State.DONE}))).id
    assert stores.statuses(job_id) == [
        ("queued", "skipped"),
        ("loading", "pending"),
        ("working", "skipped"),
        ("done", "pending"),
    ]
    assert [stores.send(job_id).sequence for _ in range(2)] == [2, 4]
    assert engine.rows("SELECT COUNT(*) FROM events WHERE status = 'skipped' AND body IS NOT NULL") == [(0,)]


def test_an_event_that_comes_when_none_waits_is_due_at_once(stores: Stores) -> None:
    """The one before it was delivered already."""
    job = stores.submit()
    stores.send(job.id)
    stores.claims.begin(stores.claim(), State.LOADING, T0 + 5)
    assert stores.events.of(job.id)[1].next_attempt_at == T0 + 5


def test_an_event_that_is_being_sent_is_nobody_elses(stores: Stores) -> None:
    """Eight senders look at once, one gets it."""
    job = stores.submit()
    got = together(8, lambda _: stores.events.claim(job.id, T0))
    assert [each is None for each in got].count(False) == 1


def test_a_try_whose_sender_died_is_made_again(stores: Stores) -> None:
    """Its lease runs out; the try counts, since the receiver may have seen it."""
    job = stores.submit()
    lost = stores.events.claim(job.id, T0)
    assert lost is not None
    assert stores.events.claim(job.id, T0 + SENDING_MS) is None
    again = stores.events.claim(job.id, T0 + SENDING_MS + 1)
    assert again is not None
    assert (again.attempt, again.token, again.body) == (2, 2, lost.body)


def test_an_outcome_under_an_old_token_is_refused(engine: Engine, stores: Stores) -> None:
    """A sender that was given up for dead changes nothing: not the event, not its successors, not the attempts."""
    job_id = stores.done().id
    lost = stores.events.claim(job_id, T0)
    again = stores.events.claim(job_id, T0 + SENDING_MS + 1)
    assert lost is not None
    assert again is not None
    before = engine.all_rows("events", "attempts", "jobs")
    for attempt, decision in ((OK, Delivered()), (GONE, Stopped()), (BUSY, Dead()), (BUSY, RetryIn(1.0))):
        with pytest.raises(StaleLease):
            stores.events.record(lost, attempt, decision, T0 + SENDING_MS + 2)
    assert engine.all_rows("events", "attempts", "jobs") == before
    stores.events.record(again, OK, Delivered(), T0 + SENDING_MS + 3)
    with pytest.raises(StaleLease):
        stores.events.record(again, OK, Delivered(), T0 + SENDING_MS + 4)


def test_a_slow_sender_may_record_as_long_as_nobody_else_has_the_event(stores: Stores) -> None:
    """What it knows is true: only a second try makes it doubtful."""
    job = stores.submit()
    slow = stores.events.claim(job.id, T0)
    assert slow is not None
    stores.events.record(slow, OK, Delivered(), T0 + 10 * SENDING_MS)
    assert stores.statuses(job.id) == [("queued", "delivered")]


def test_one_origin_holds_no_more_tries_than_its_limit(stores: Stores) -> None:
    """Eight senders with eight jobs for one receiver: two tries; a second receiver has two more."""
    here = [stores.submit().id for _ in range(8)]
    there = [stores.submit(request(url="https://hooks.example.org/x")).id for _ in range(8)]
    for ids in (here, there):
        got = together(8, lambda number, ids=ids: stores.events.claim(ids[number], T0))  # type: ignore[misc]
        assert [each is None for each in got].count(False) == 2


def test_an_origin_has_room_again_when_a_try_ends(stores: Stores) -> None:
    """Whether it was recorded or its sender died; who ends a try finds the next job that waits for the origin."""
    ids = [stores.submit(at=T0 + number).id for number in range(4)]
    now = T0 + 10
    sendings = [stores.events.claim(job_id, now) for job_id in ids[:2]]
    assert stores.events.claim(ids[2], now) is None
    assert list(stores.events.next_due(ORIGIN, now)) == [ids[2]]
    assert sendings[0] is not None
    stores.events.record(sendings[0], OK, Delivered(), now)
    assert stores.events.claim(ids[2], now) is not None
    assert stores.events.claim(ids[3], now) is None
    assert stores.events.claim(ids[3], now + SENDING_MS + 1) is not None


def test_the_spelling_of_a_url_does_not_make_it_another_origin(stores: Stores) -> None:
    """Case and the default port are nothing: one receiver is one receiver."""
    ids = [
        stores.submit(request(url=url)).id
        for url in ("https://hooks.example.com/a", "https://HOOKS.example.com:443/b", "https://hooks.example.com./c")
    ]
    assert [stores.events.claim(job_id, T0) is None for job_id in ids] == [False, False, True]


def test_due_finds_what_nobody_holds_longest_overdue_first(stores: Stores) -> None:
    """What the sweep wakes senders for: not the held, not the later, not those behind another."""
    stores.submit(quiet())
    late = stores.submit(at=T0 + 5).id
    early = stores.submit(at=T0).id
    held = stores.submit(at=T0).id
    stores.submit(at=T0 + 50)
    assert stores.events.claim(held, T0) is not None
    assert list(stores.events.due(T0 + 10, 10).job_ids) == [early, late]
    assert list(stores.events.due(T0 + 10, 1).job_ids) == [early]
    assert set(stores.events.due(T0 + SENDING_MS + 1, 10).job_ids) > {held}


def test_counts_tell_pending_from_dead(stores: Stores) -> None:
    """Delivered and skipped events are over and not counted."""
    job_id = stores.done(request(events=frozenset({State.QUEUED, State.LOADING, State.WORKING}))).id
    assert stores.events.counts() == {"pending": 3, "dead": 0}
    stores.send(job_id)
    stores.send(job_id, BUSY, Dead())
    assert stores.events.counts() == {"pending": 1, "dead": 1}


@pytest.mark.parametrize("gives_up", [False, True])
def test_no_event_is_stranded_when_it_comes_as_the_one_before_it_ends(stores: Stores, gives_up: bool) -> None:  # noqa: FBT001 (a table of one column)
    """A sender records the end of event n while the run commits n+1: whoever is second makes n+1 due."""
    for _ in range(40):
        job = stores.submit()
        claim = stores.claim()
        sending = stores.events.claim(job.id, T0)
        assert sending is not None
        decision = Dead() if gives_up else Delivered()

        def race(number: int) -> None:
            if number:
                stores.claims.begin(claim, State.LOADING, T0 + 1)  # noqa: B023 (used in this round only)
            else:
                stores.events.record(sending, OK, decision, T0 + 1)  # noqa: B023 (as above)

        together(2, race)
        assert stores.events.of(job.id)[1].next_attempt_at == T0 + 1
        stores.claims.fail(claim, BOOM, T0 + 2)


def test_an_event_that_comes_as_its_url_is_stopped_is_skipped(stores: Stores) -> None:
    """A receiver answers 410 while the run commits the next event: whoever is second sees to it that it is skipped."""
    for _ in range(40):
        job = stores.submit()
        claim = stores.claim()
        sending = stores.events.claim(job.id, T0)
        assert sending is not None

        def race(number: int) -> None:
            if number:
                stores.claims.begin(claim, State.LOADING, T0 + 1)  # noqa: B023 (used in this round only)
            else:
                stores.events.record(sending, GONE, Stopped(), T0 + 1)  # noqa: B023 (as above)

        together(2, race)
        assert stores.statuses(job.id) == [("queued", "dead"), ("loading", "skipped")]
        stores.claims.fail(claim, BOOM, T0 + 2)


def test_senders_and_runs_at_full_speed_lose_and_reorder_nothing(stores: Stores) -> None:
    """Six senders deliver what two workers bring about; each job's events arrive once, in order, to the last."""
    stores = Stores(slots=2, origin_limit=3)
    ids = [stores.submit().id for _ in range(30)]
    sent: list[tuple[str, int]] = []

    def run() -> None:
        for _ in range(15):
            claim = stores.claim()
            for state in (State.LOADING, State.WORKING):
                stores.claims.begin(claim, state, T0)
            made = completion(claim.job.id)
            stores.claims.complete(claim, made, {}, T0)
            stores.artifacts.stored(made, None, T0)

    def deliver() -> None:
        while stores.events.counts()["pending"] or counts()[State.DONE] < len(ids):
            for job_id in stores.events.due(T0, 3).job_ids:
                sending = stores.events.claim(job_id, T0)
                if sending is not None:
                    sent.append((job_id, sending.sequence))
                    stores.events.record(sending, OK, Delivered(), T0)

    together(8, lambda number: run() if number < 2 else deliver())
    assert sorted(sent) == [(job_id, sequence) for job_id in ids for sequence in (1, 2, 3, 4)]
    for job_id in ids:
        assert [sequence for each, sequence in sent if each == job_id] == [1, 2, 3, 4]
