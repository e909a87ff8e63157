from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from foreman.domain.delivery import Dead, Delivered, RetryIn
from foreman.domain.lifecycle import State
from foreman.errors import EventNotFound, EventSkipped, JobGone
from foreman.store import database
from foreman.store.deliveries import STATUSES, EventFilter
from tests.stores import (
    BOOM,
    BUSY,
    GONE,
    LATE,
    OK,
    ORIGIN,
    SENDING_MS,
    T0,
    Engine,
    Stores,
    quiet,
    request,
    together,
    wait_until,
)

#: When a job that ended at ``T0`` with the tests' usual ``ttl_s`` is over.
OVER = T0 + 3_600_000


def dead(stores: Stores, *, at: int = T0) -> str:
    """A job that is done and whose four events all died."""
    job_id = stores.done(at=at).id
    for _ in range(4):
        stores.send(job_id, BUSY, Dead(), at=at)
    return job_id


@pytest.mark.parametrize("how", ["delivered", "dead"])
def test_a_settled_event_is_sent_again_as_it_was(stores: Stores, how: str) -> None:
    """The same id, the same bytes; the try is counted on, and the schedule begins anew."""
    job = stores.submit()
    first = stores.send(job.id, OK if how == "delivered" else BUSY, Delivered() if how == "delivered" else Dead())
    stores.redelivery.redeliver(job.id, State.QUEUED, T0 + 5)
    [event] = stores.events.of(job.id)
    assert (event.status, event.next_attempt_at, event.delivered_at) == ("pending", T0 + 5, None)
    second = stores.send(job.id, at=T0 + 6)
    assert (second.event_id, second.body) == (first.event_id, first.body)
    assert (second.attempt, second.tries) == (2, 1)
    assert stores.statuses(job.id) == [("queued", "delivered")]


def test_asking_twice_sends_once(stores: Stores) -> None:
    """Until it was tried, the second request finds the event pending and changes nothing."""
    job = stores.submit()
    stores.send(job.id)
    together(4, lambda _: stores.redelivery.redeliver(job.id, State.QUEUED, T0 + 5))
    stores.send(job.id, at=T0 + 6)
    assert stores.events.claim(job.id, T0 + 10**9) is None


def test_an_event_that_waits_for_its_next_try_is_due_at_once(stores: Stores) -> None:
    """Whoever has mended the receiver need not wait for hours."""
    job = stores.submit()
    stores.send(job.id, BUSY, RetryIn(3600.0))
    stores.redelivery.redeliver(job.id, State.QUEUED, T0 + 5)
    assert stores.send(job.id, at=T0 + 5).tries == 1


def test_an_event_that_is_just_being_claimed_keeps_its_turn(engine: Engine, stores: Stores) -> None:
    """A claim that is not committed yet is waited for: a receiver gets no two events of one job at once."""
    job_id = stores.done().id
    stores.send(job_id)
    with ThreadPoolExecutor() as pool:
        with database.write():
            sending = stores.events.claim(job_id, T0)
            redelivering = pool.submit(stores.redelivery.redeliver, job_id, State.QUEUED, T0)
            if engine.kind == "postgresql":
                wait_until(engine.somebody_waits)
        redelivering.result()
    assert sending is not None
    assert stores.events.claim(job_id, T0) is None
    stores.events.record(sending, OK, Delivered(), T0)
    assert stores.send(job_id).state is State.QUEUED


def test_an_event_behind_another_waits_for_its_turn(stores: Stores) -> None:
    """The order of the states holds among all that is pending."""
    job_id = stores.done().id
    for _ in range(3):
        stores.send(job_id)
    stores.send(job_id, BUSY, RetryIn(60.0))
    for state in (State.WORKING, State.QUEUED):
        stores.redelivery.redeliver(job_id, state, T0 + 5)
    assert [event.next_attempt_at for event in stores.events.of(job_id)] == [T0 + 5, None, None, None]
    assert [stores.send(job_id, at=T0 + 6).state for _ in range(3)] == [State.QUEUED, State.WORKING, State.DONE]


def test_a_try_under_way_is_no_reason_to_send_twice(stores: Stores) -> None:
    """If it delivers the event, that was the redelivery."""
    job = stores.submit()
    sending = stores.events.claim(job.id, T0)
    assert sending is not None
    stores.redelivery.redeliver(job.id, State.QUEUED, T0 + 1)
    assert stores.events.claim(job.id, T0 + 2) is None
    stores.events.record(sending, OK, Delivered(), T0 + 3)
    assert stores.events.claim(job.id, T0 + 10**9) is None


@pytest.mark.parametrize("decision", [Dead(), RetryIn(3600.0)])
def test_a_try_under_way_that_fails_leaves_the_redelivery_to_be_done(stores: Stores, decision: Dead | RetryIn) -> None:
    """The old schedule may have ended with it; the one that was asked for has not begun."""
    job = stores.submit()
    sending = stores.events.claim(job.id, T0)
    assert sending is not None
    stores.redelivery.redeliver(job.id, State.QUEUED, T0 + 1)
    stores.events.record(sending, LATE, decision, T0 + 3)
    assert stores.send(job.id, at=T0 + 3).tries == 1


def test_a_later_event_that_is_being_tried_keeps_its_turn_until_it_is_over(stores: Stores) -> None:
    """A receiver never gets two events of one job at once; if the try fails, the earlier one goes first."""
    job_id = stores.done().id
    stores.send(job_id)
    later = stores.events.claim(job_id, T0)
    assert later is not None
    assert later.state is State.LOADING
    stores.redelivery.redeliver(job_id, State.QUEUED, T0 + 1)
    assert stores.events.claim(job_id, T0 + 1) is None
    stores.events.record(later, BUSY, RetryIn(1.0), T0 + 2)
    assert [stores.send(job_id, at=T0 + 2).state for _ in range(2)] == [State.QUEUED, State.LOADING]


def test_an_event_of_a_dead_sender_gives_way_to_an_earlier_one(stores: Stores) -> None:
    """Nobody is trying it any more, so the order of the states decides."""
    job_id = stores.done().id
    stores.send(job_id)
    assert stores.events.claim(job_id, T0) is not None
    now = T0 + SENDING_MS + 1
    stores.redelivery.redeliver(job_id, State.QUEUED, now)
    assert [stores.send(job_id, at=now).state for _ in range(2)] == [State.QUEUED, State.LOADING]


def test_a_410_is_overridden_for_the_event_that_is_asked_for(stores: Stores) -> None:
    """Those it stopped can be sent as well, one by one; what is still to come stays skipped."""
    claim = stores.working()
    job_id = claim.job.id
    stores.send(job_id, GONE)
    assert stores.statuses(job_id) == [("queued", "dead"), ("loading", "skipped"), ("working", "skipped")]
    for state in (State.QUEUED, State.WORKING):
        stores.redelivery.redeliver(job_id, state, T0 + 5)
        assert stores.send(job_id, at=T0 + 5).state is state
    stores.claims.fail(claim, BOOM, T0 + 6)
    assert stores.statuses(job_id)[3] == ("failed", "skipped")


def test_an_event_that_was_never_built_cannot_be_sent(stores: Stores) -> None:
    """The submission did not ask for it, and a body made later would not be that of the moment."""
    job_id = stores.done(request(events=frozenset({State.DONE}))).id
    with pytest.raises(EventSkipped):
        stores.redelivery.redeliver(job_id, State.QUEUED, T0)


def test_an_event_that_is_not_there_cannot_be_sent(stores: Stores) -> None:
    """Of a state that was not reached, of a job without a webhook, of no job."""
    for job_id in (stores.submit().id, stores.submit(quiet()).id, "01NOBODY"):
        with pytest.raises(EventNotFound):
            stores.redelivery.redeliver(job_id, State.DONE, T0)


def test_a_redelivery_keeps_its_job_until_it_is_over(stores: Stores) -> None:
    """Pruning takes no job with an event that is being sent; one whose time is over already is as good as gone."""
    kept, over = dead(stores), dead(stores)
    stores.redelivery.redeliver(kept, State.DONE, OVER - 1)
    with pytest.raises(JobGone):
        stores.redelivery.redeliver(over, State.DONE, OVER)
    assert list(stores.pruning.expired(OVER, 10)) == [over]
    stores.redelivery.redeliver(kept, State.QUEUED, OVER)
    stores.deliver_all(kept, at=OVER)
    assert set(stores.pruning.expired(OVER, 10)) == {over, kept}


def test_a_recovery_takes_what_died_since_a_moment(stores: Stores) -> None:
    """By the moment of the transition, that moment included; all else is left alone."""
    old, new, fine = dead(stores, at=T0), dead(stores, at=T0 + 10), stores.done(at=T0 + 20).id
    stores.deliver_all(fine, at=T0 + 20)
    got = stores.redelivery.recover(T0 + 10, None, T0 + 30, place=None, limit=100)
    assert (got.events, list(got.job_ids), got.place) == (4, [new], None)
    assert {status for _, status in stores.statuses(old)} == {"dead"}
    assert {status for _, status in stores.statuses(fine)} == {"delivered"}
    assert [stores.send(new, at=T0 + 30).sequence for _ in range(4)] == [1, 2, 3, 4]


def test_a_recovery_goes_on_where_its_last_batch_ended(stores: Stores) -> None:
    """However small the batches, each event is taken once, even one that has died again meanwhile."""
    job_ids = [dead(stores, at=T0 + number) for number in range(3)]
    place, taken = None, 0
    for _ in range(12):
        got = stores.redelivery.recover(T0, None, T0 + 30, place=place, limit=1)
        taken, place = taken + got.events, got.place
        for job_id in got.job_ids:
            stores.send(job_id, BUSY, Dead(), at=T0 + 30)
    assert taken == 12
    assert stores.redelivery.recover(T0, None, T0 + 30, place=place, limit=1).events == 0
    assert stores.events.counts() == {"pending": 0, "dead": 12}
    assert len({job_id for job_id in job_ids if stores.events.of(job_id)[3].attempts == 2}) == 3


def test_a_recovery_may_be_of_one_origin(stores: Stores) -> None:
    """Other receivers get nothing that they did not ask for."""
    here = dead(stores)
    there = stores.submit(request(url="https://other.example.com/x")).id
    stores.send(there, BUSY, Dead())
    got = stores.redelivery.recover(T0, ORIGIN, T0 + 1, place=None, limit=100)
    assert list(got.job_ids) == [here]
    assert stores.statuses(there) == [("queued", "dead")]


def test_a_recovery_passes_over_what_its_receiver_gave_up(stores: Stores) -> None:
    """410 said: no more. So does the end of a job's time."""
    over = dead(stores)
    stopped = stores.submit().id
    stores.send(stopped, GONE)
    got = stores.redelivery.recover(T0, None, OVER, place=None, limit=100)
    assert (got.events, list(got.job_ids)) == (0, [])
    assert stores.statuses(stopped) == [("queued", "dead")]
    assert stores.statuses(over)[3] == ("done", "dead")


def test_two_recoveries_at_once_take_each_event_once(stores: Stores) -> None:
    """Two operators, or one who did not wait for the answer."""
    for number in range(20):
        dead(stores, at=T0 + number)
    got = together(4, lambda _: stores.redelivery.recover(T0, None, T0 + 50, place=None, limit=1000).events)
    assert sum(got) == 80


def test_tries_are_shown_oldest_first(stores: Stores) -> None:
    """Every one of every event, page by page; one under way, and one whose sender died, have no outcome."""
    job_id = stores.done().id
    stores.send(job_id, BUSY, at=T0)
    stores.send(job_id, OK, at=T0 + 1000)
    assert stores.events.claim(job_id, T0 + 2000) is not None
    assert stores.events.claim(job_id, T0 + 2001 + SENDING_MS) is not None
    now = T0 + 2002 + SENDING_MS
    shown = stores.deliveries.tries(job_id, now, after=None, limit=10)
    assert [(each.sequence, each.attempt, each.status, each.under_way) for each in shown] == [
        (1, 1, 503, False),
        (1, 2, 200, False),
        (2, 1, None, False),
        (2, 2, None, True),
    ]
    assert [each.state for each in shown] == [State.QUEUED, State.QUEUED, State.LOADING, State.LOADING]
    assert (shown[1].duration_ms, shown[1].excerpt) == (12, "thanks")
    paged: list[object] = []
    after = None
    while page := stores.deliveries.tries(job_id, now, after=after, limit=1):
        paged += page
        after = (page[0].at, page[0].sequence, page[0].attempt)
    assert paged == shown


def test_events_are_listed_by_what_became_of_them(engine: Engine, stores: Stores) -> None:
    """Newest job first, the last event of a job first, and each of the four words finds its own."""
    died = dead(stores)
    fine = stores.done().id
    stores.deliver_all(fine)
    some = stores.done(request(events=frozenset({State.DONE}))).id
    every = stores.deliveries.events(EventFilter())
    assert [(each.job_id, each.sequence) for each in every] == [
        (job_id, sequence) for job_id in (some, fine, died) for sequence in (4, 3, 2, 1)
    ]
    for status in STATUSES:
        found = stores.deliveries.events(EventFilter(status))
        assert found == [each for each in every if each.status == status]
        assert found
    assert [each.sequence for each in stores.deliveries.events(EventFilter("dead", died, limit=2))] == [4, 3]
    assert [each.sequence for each in stores.deliveries.events(EventFilter("dead", before=(died, 3)))] == [2, 1]
    assert engine.count("events") == len(every)
