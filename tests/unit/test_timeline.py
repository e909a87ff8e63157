"""A job's life as bars, number by number."""

from __future__ import annotations

from dataclasses import replace

from foreman.domain.delivery import Outcome
from foreman.domain.job import Job, Limits, Priority
from foreman.domain.lifecycle import State
from foreman.domain.timeline import Bar, Sent, Timeline, of_deliveries, of_run

T0 = 1_700_000_000_000

JOB = Job(
    id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    state=State.QUEUED,
    model="m",
    priority=Priority.NORMAL,
    metadata={},
    limits=Limits(60, None, 60, 60, 60, None),
    webhook=None,
    attempt=1,
    created_at=T0,
    reached=((State.QUEUED, T0),),
    expires_at=None,
    stats=None,
    failure=None,
    version=1,
)

DONE = replace(
    JOB,
    state=State.DONE,
    reached=(
        (State.QUEUED, T0),
        (State.LOADING, T0 + 100),
        (State.WORKING, T0 + 300),
        (State.DONE, T0 + 1000),
    ),
)


def test_a_run_has_a_lane_for_each_phase() -> None:
    """One after the other, each with what it took."""
    run = of_run(DONE, T0 + 99_999)
    assert (run.began_at, run.span_ms) == (T0, 1000)
    assert [(lane.name, lane.took_ms, lane.open) for lane in run.lanes] == [
        ("waiting", 100, False),
        ("loading", 200, False),
        ("working", 700, False),
    ]
    assert [lane.bars for lane in run.lanes] == [
        (Bar(0.0, 0.1, "waiting"),),
        (Bar(0.1, 0.3, "loading"),),
        (Bar(0.3, 1.0, "working"),),
    ]


def test_the_last_phase_of_a_live_job_goes_on_until_now() -> None:
    """And is open."""
    [waiting] = of_run(JOB, T0 + 500).lanes
    assert (waiting.name, waiting.took_ms, waiting.open) == ("waiting", 500, True)
    assert waiting.bars == (Bar(0.0, 1.0, "waiting"),)


def test_a_job_that_failed_in_the_queue_only_waited() -> None:
    """The other phases were not reached."""
    failed = replace(JOB, state=State.FAILED, reached=((State.QUEUED, T0), (State.FAILED, T0 + 50)))
    assert [(lane.name, lane.took_ms) for lane in of_run(failed, T0 + 99).lanes] == [("waiting", 50)]


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    """With a clock that was set back, or another machine's, and with no time passed at all."""
    odd = replace(DONE, reached=((State.QUEUED, T0), (State.LOADING, T0 - 500), (State.DONE, T0)))
    tries = [Sent(State.QUEUED, T0 - 900, 10, Outcome.FAILED), Sent(State.QUEUED, T0 + 5, None, Outcome.UNKNOWN)]
    for job, now in ((odd, T0), (JOB, T0), (JOB, T0 - 1000)):
        run = of_run(job, now)
        sent = of_deliveries(run, tries, now)
        assert sent is not None
        for picture in (run, sent):
            assert picture.span_ms >= 1
            for lane in picture.lanes:
                assert lane.took_ms >= 0
                assert all(0 <= bar.start <= 1 and 0 <= bar.end <= 1 for bar in lane.bars)


def test_deliveries_have_a_lane_for_each_event_and_a_bar_for_each_try() -> None:
    """In the order of the states, however the tries come."""
    run = Timeline(T0, 1000, ())
    sent = of_deliveries(
        run,
        [
            Sent(State.QUEUED, T0, 100, Outcome.FAILED),
            Sent(State.LOADING, T0 + 200, 100, Outcome.DELIVERED),
            Sent(State.QUEUED, T0 + 500, 100, Outcome.DELIVERED),
        ],
        T0 + 5000,
    )
    assert sent is not None
    assert sent.span_ms == 1000
    assert [(lane.name, lane.took_ms) for lane in sent.lanes] == [("queued", 600), ("loading", 100)]
    assert sent.lanes[0].bars == (Bar(0.0, 0.1, "failed"), Bar(0.5, 0.6, "delivered"))


def test_tries_that_go_on_for_longer_make_the_picture_wider() -> None:
    """And one that is under way goes on until now."""
    run = Timeline(T0, 1000, ())
    sent = of_deliveries(run, [Sent(State.DONE, T0 + 2000, None, Outcome.IN_FLIGHT)], T0 + 4000)
    assert sent is not None
    assert sent.span_ms == 4000
    assert sent.lanes[0].bars == (Bar(0.5, 1.0, "in_flight"),)
    assert sent.lanes[0].open


def test_without_a_try_there_is_no_picture() -> None:
    """Nothing was sent, or nobody is to be told."""
    assert of_deliveries(of_run(DONE, T0), [], T0) is None
