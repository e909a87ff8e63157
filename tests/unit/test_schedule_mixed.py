"""The choice over a whole load, in counted time: what it saves, and what it never does."""

from __future__ import annotations

import pytest

from foreman.domain.schedule import Policy
from tests.bench.mixed import BOUND, LOAD_MS, MODELS, POLICIES, RUN_MS, arrivals, best, tally


@pytest.mark.parametrize("seed", range(5))
def test_a_mixed_load_takes_hardly_longer_than_the_best_order_and_keeps_its_bound(seed: int) -> None:
    """Within a tenth of the best makespan; nobody waits longer than the bound and a run of each other model's."""
    jobs = arrivals(3000, seed)
    found = tally(jobs, POLICIES["foreman"])
    assert found.makespan <= 1.1 * best(jobs)
    assert found.longest_wait <= BOUND + (len(MODELS) - 1) * (LOAD_MS + RUN_MS) / RUN_MS


def test_draining_a_model_would_keep_others_waiting_longer_and_age_alone_would_load_for_every_other_job() -> None:
    """What the two bounds are for."""
    jobs = arrivals(3000)
    foreman, drain, age = (tally(jobs, POLICIES[name]) for name in ("foreman", "by model, no bound", "by age alone"))
    assert drain.longest_wait > foreman.longest_wait
    assert age.loads > 40 * foreman.loads


def test_a_burst_that_no_order_can_serve_in_time_is_not_paid_for_with_a_load_for_each_job() -> None:
    """Six hundred jobs at once, a bound of three hundred runs: turns of a hundred jobs, six or seven loads."""
    burst = [(0, "abc"[number % 3]) for number in range(600)]
    found = tally(burst, Policy(300 * RUN_MS, 100))
    assert found.loads <= 7
    assert found.makespan <= 1.15 * best(burst)
