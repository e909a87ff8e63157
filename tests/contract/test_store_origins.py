from __future__ import annotations

import pytest

from foreman.domain.delivery import Delivered, RetryIn
from foreman.domain.origin_health import Circuit
from foreman.errors import StaleLease
from foreman.store.events import Due
from foreman.store.origins import OriginStatus
from tests.stores import GONE, LATE, OK, ORIGIN, SENDING_MS, T0, Engine, Stores, outcome, request, together

OTHER_URL, OTHER = "https://hooks.example.org/x", "https://hooks.example.org"


def opened(stores: Stores, count: int = 5) -> list[str]:
    """Jobs that wait for an origin whose circuit has opened at ``T0`` for 10 s; three of them were tried once."""
    ids = [stores.submit(at=T0 + number - count).id for number in range(count)]
    for job_id in ids[:3]:
        fail(stores, job_id)
    return ids


def fail(stores: Stores, job_id: str, at: int = T0) -> None:
    """Try the job's next event, in vain."""
    sending = stores.send(job_id, LATE, at=at)
    stores.origins.failed(sending.origin, LATE, jitter=1.0, now=at)


def attempts(stores: Stores, *ids: str) -> list[int]:
    """How often the first event of each job was tried."""
    return [stores.events.of(job_id)[0].attempts for job_id in ids]


def test_a_healthy_origin_leaves_no_trace(engine: Engine, stores: Stores) -> None:
    """A row is there from the first failure to the next answer."""
    job = stores.submit()
    assert stores.send(job.id).doubted is False
    assert engine.count("origins") == 0
    fail(stores, stores.submit().id)
    assert engine.count("origins") == 1
    assert stores.send(stores.submit().id).doubted is True
    assert stores.origins.answered(ORIGIN) is False
    assert engine.count("origins") == 0


def test_an_origin_may_fail_and_answer_at_once(engine: Engine, stores: Stores) -> None:
    """Senders whose tries end at the same moment, well and badly, do not take each other's row from under them."""

    def end_tries(number: int) -> None:
        for _ in range(150):
            if number % 2:
                stores.origins.failed(ORIGIN, LATE, jitter=1.0, now=T0)
            else:
                stores.origins.answered(ORIGIN)

    together(4, end_tries)
    stores.origins.answered(ORIGIN)
    assert engine.count("origins") == 0


def test_nothing_is_tried_while_the_circuit_is_open_and_no_attempt_used_up(stores: Stores) -> None:
    """For all events of the origin, new ones and due retries; others are not concerned."""
    ids = opened(stores)
    there = stores.submit(request(url=OTHER_URL)).id
    assert [stores.events.claim(job_id, T0 + 9_999) for job_id in ids] == [None] * 5
    assert stores.events.claim(ids[0], T0 + 9_999, beside=True) is None
    assert attempts(stores, *ids) == [1, 1, 1, 0, 0]
    assert stores.events.claim(there, T0) is not None


def test_one_probe_is_made_when_the_time_is_over(stores: Stores) -> None:
    """Eight senders look at once, one gets a try; if it dies, another follows when its lease is over."""
    ids = opened(stores, 8)
    at = T0 + 10_000
    got = together(8, lambda number: stores.events.claim(ids[number], at))
    [probe] = [each for each in got if each is not None]
    assert stores.events.claim(ids[0], at + SENDING_MS) is None
    assert stores.events.claim(probe.job_id, at + SENDING_MS + 1, beside=True) is not None


def test_a_probe_that_is_answered_closes_the_circuit(stores: Stores) -> None:
    """Everything that waits may go out again, as much at once as the cap allows."""
    ids = opened(stores)
    probe = stores.send(ids[0], OK, at=T0 + 10_000)
    assert probe.doubted is True
    assert stores.origins.answered(ORIGIN) is True
    claimed = [stores.events.claim(job_id, T0 + 10_000) for job_id in ids[1:]]
    assert [each is None for each in claimed] == [False, False, True, True]


def test_a_probe_that_fails_opens_it_again(stores: Stores) -> None:
    """For twice as long."""
    ids = opened(stores)
    fail(stores, ids[0], T0 + 10_000)
    assert stores.events.claim(ids[1], T0 + 29_999) is None
    assert stores.events.claim(ids[1], T0 + 30_000) is not None


def test_the_next_try_is_shown_for_when_it_will_be(engine: Engine, stores: Stores) -> None:
    """Not before the circuit lets it through; the schedule in the row is untouched."""
    ids = opened(stores)
    assert [stores.events.of(job_id)[0].next_attempt_at for job_id in ids] == [T0 + 10_000] * 5
    assert engine.rows("SELECT MAX(next_attempt_at) FROM events") == [(T0 + 1000,)]


def test_the_sweep_is_given_probes_and_nothing_else_of_a_circuit_that_is_not_closed(stores: Stores) -> None:
    """One job for each half-open origin, however many wait there."""
    ids = opened(stores)
    there = stores.submit(request(url=OTHER_URL)).id
    assert list(stores.events.due(T0 + 60_000, 10).job_ids) == [there]
    assert list(stores.origins.probes(T0 + 9_999, 10)) == []
    assert list(stores.origins.probes(T0 + 10_000, 10)) == [ids[3]]


def test_a_crowd_at_one_origin_does_not_hide_the_others_from_the_sweep(stores: Stores) -> None:
    """Of each no more than it may hold at once, the longest overdue first; the next look goes on where one ended."""
    here = [stores.submit(at=T0 + number).id for number in range(6)]
    there = [stores.submit(request(url=OTHER_URL), at=T0 + number).id for number in range(2)]
    assert stores.events.due(T0 + 100, 10) == Due([*here[:2], *there], "")
    first = stores.events.due(T0 + 100, 3)
    assert first == Due([*here[:2], there[0]], OTHER)
    assert stores.events.due(T0 + 100, 3, first.after) == Due([], "")
    assert stores.events.due(T0 + 100, 3, ORIGIN) == Due(there, "")


def test_a_message_for_an_event_that_is_gone_serves_its_origins_next(stores: Stores) -> None:
    """Whatever has been overdue there longest, and nothing of another origin."""
    stores.submit(request(url=OTHER_URL), at=T0 - 9)
    first, second = stores.submit(at=T0 - 2).id, stores.submit(at=T0 - 1).id
    assert stores.events.claim(second, T0) is not None
    beside = stores.events.claim(second, T0, beside=True)
    assert beside is not None
    assert beside.job_id == first
    stores.events.record(beside, OK, Delivered(), T0)
    assert stores.events.claim(second, T0, beside=True) is None
    assert stores.events.claim("unknown", T0, beside=True) is None


def test_senders_that_go_on_beside_never_take_the_same_event(stores: Stores) -> None:
    """Eight of them, all asked for one job, drain forty, never more at once than the cap."""
    stores = Stores(origin_limit=3)
    ids = [stores.submit().id for _ in range(40)]
    sent: list[str] = []

    def drain(_: int) -> None:
        while stores.events.counts()["pending"]:
            sending = stores.events.claim(ids[0], T0, beside=True)
            if sending is not None:
                sent.append(sending.job_id)
                stores.events.record(sending, OK, Delivered(), T0)

    together(8, drain)
    assert sorted(sent) == sorted(ids)


def admit(_origin: str, _retry: bool) -> bool:  # noqa: FBT001 (as the store calls it)
    """There is a sender for everything."""
    return True


def test_a_sender_goes_on_with_the_place_of_the_try_that_it_records(stores: Stores) -> None:
    """In one transaction: first with the same job, then with its origin's next, and the cap is held all the while."""
    stores = Stores(origin_limit=2)
    first = stores.working(at=T0).job.id
    second, third = (stores.submit(at=T0 + number).id for number in range(1, 3))
    now = T0 + 10
    one, other = stores.events.claim(first, now), stores.events.claim(second, now)
    assert one is not None
    assert other is not None
    assert stores.events.claim(third, now) is None
    then = stores.events.record(one, OK, Delivered(), now, admit)
    assert then is not None
    assert (then.job_id, then.sequence, then.attempt) == (first, 2, 1)
    assert stores.events.claim(third, now) is None
    end = stores.events.record(then, OK, Delivered(), now, admit)
    assert end is not None
    assert (end.job_id, end.sequence) == (first, 3)
    last = stores.events.record(end, OK, Delivered(), now, admit)
    assert last is not None
    assert last.job_id == third
    assert stores.events.record(last, OK, Delivered(), now, admit) is None
    assert stores.events.record(other, OK, Delivered(), now) is None


def test_a_sender_that_goes_on_is_asked_for_like_any_other(stores: Stores) -> None:
    """Where there is none for the next event the outcome is written all the same; under a lost lease nothing is."""
    first, second = stores.submit(at=T0).id, stores.submit(at=T0 + 1).id
    sending = stores.events.claim(first, T0 + 2)
    assert sending is not None
    assert stores.events.record(sending, OK, Delivered(), T0 + 3, lambda _origin, _retry: False) is None
    assert stores.events.of(first)[0].status == "delivered"
    with pytest.raises(StaleLease):
        stores.events.record(sending, OK, Delivered(), T0 + 3, admit)
    assert attempts(stores, second) == [0]


def test_senders_that_go_on_in_one_transaction_never_hold_more_than_the_cap(stores: Stores) -> None:
    """Eight of them drain forty jobs of one origin, each event by one of them, and never more than three at once."""
    stores = Stores(origin_limit=3)
    ids = [stores.submit().id for _ in range(40)]
    sent: list[str] = []
    most: list[int] = []

    def drain(number: int) -> None:
        sending = stores.events.claim(ids[number], T0, beside=True)
        while sending is not None or stores.events.counts()["pending"]:
            if sending is None:
                sending = stores.events.claim(ids[number], T0, beside=True)
                continue
            most.append(sum(each.in_flight for each in stores.origins.of_note(T0, 9)))
            sent.append(sending.job_id)
            sending = stores.events.record(sending, OK, Delivered(), T0, admit)

    together(8, drain)
    assert sorted(sent) == sorted(ids)
    assert max(most) <= 3


def test_who_is_not_admitted_takes_nothing(engine: Engine, stores: Stores) -> None:
    """The process has no sender for it: nothing is written. It is asked with the origin and whether it is a retry."""
    job = stores.submit()
    asked: list[tuple[str, bool]] = []

    def never(origin: str, retry: bool) -> bool:  # noqa: FBT001 (as the store calls it)
        asked.append((origin, retry))
        return False

    assert stores.events.claim(job.id, T0, never) is None
    stores.send(job.id, LATE)
    assert stores.events.claim(job.id, T0 + 1000, never) is None
    assert asked == [(ORIGIN, False), (ORIGIN, True)]
    assert engine.count("attempts") == 1


def test_failures_at_once_are_all_counted(stores: Stores) -> None:
    """Eight senders fail together, on an origin without a row: none is lost."""
    ids = [stores.submit().id for _ in range(2)]
    assert ids
    together(8, lambda _: stores.origins.failed(ORIGIN, LATE, jitter=1.0, now=T0))
    [status] = stores.origins.of_note(T0, 10)
    assert status.failures == 8


def test_origins_of_note_are_those_that_fail_and_those_that_are_waited_for(stores: Stores) -> None:
    """Open circuits first; what is healthy and has nothing to come is not listed."""
    opened(stores)
    for _ in range(9):
        stores.submit(request(url=OTHER_URL))
    stores.send(stores.submit(request(url="https://idle.example.net")).id)
    shut, busy = stores.origins.of_note(T0, 10)
    assert shut == OriginStatus(ORIGIN, Circuit.OPEN, 3, 0, 5, T0 + 10_000, None, "timeout")
    assert (busy.origin, busy.circuit, busy.pending, busy.next_probe_at) == (OTHER, Circuit.CLOSED, 9, None)
    assert list(stores.origins.of_note(T0, 1)) == [shut]
    assert stores.origins.circuits(T0) == {Circuit.OPEN: 1, Circuit.HALF_OPEN: 0}
    assert stores.origins.circuits(T0 + 10_000) == {Circuit.OPEN: 0, Circuit.HALF_OPEN: 1}


def test_events_are_given_up_when_their_origin_has_been_shut_for_long(stores: Stores) -> None:
    """All that a job had to say by then, without a try; a later event of it has its turn, and may yet arrive."""
    ids = opened(stores)
    late = stores.submit(at=T0 + 60_000).id
    before, now = T0 + 1_000, T0 + 90_000
    assert list(stores.events.hopeless(T0 - 1, 10)) == []
    assert set(stores.events.hopeless(before, 10)) == set(ids)
    assert [stores.events.give_up(job_id, before, now) for job_id in [*ids, late]] == [True] * 5 + [False]
    assert [stores.statuses(job_id) for job_id in ids] == [[("queued", "dead")]] * 5
    assert stores.statuses(late) == [("queued", "pending")]
    assert attempts(stores, *ids) == [1, 1, 1, 0, 0]


def test_an_origin_is_forgotten_when_nothing_waits_for_it(engine: Engine, stores: Stores) -> None:
    """So names that nobody answers to do not pile up; one that is waited for is remembered."""
    job = stores.submit()
    fail(stores, job.id)
    stores.origins.forget(T0 + 1)
    assert engine.count("origins") == 1
    stores.send(job.id, GONE, at=T0 + 1000)
    stores.origins.forget(T0)
    assert engine.count("origins") == 1
    stores.origins.forget(T0 + 1)
    assert engine.count("origins") == 0


def test_a_retry_hint_is_kept_beside_the_circuit(stores: Stores) -> None:
    """An event that is to wait longer than the circuit is shown, and tried, when its own time comes."""
    ids = opened(stores)
    sending = stores.events.claim(ids[3], T0 + 10_000)
    assert sending is not None
    stores.events.record(sending, LATE, RetryIn(60), T0 + 10_000)
    assert stores.events.of(ids[3])[0].next_attempt_at == T0 + 70_000
    assert outcome(LATE) == RetryIn(1.0)
