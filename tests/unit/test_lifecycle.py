from __future__ import annotations

import pytest

from foreman.domain.lifecycle import EDGES, RETRYABLE, TERMINAL, Cause, State, can_move, sources

#: Contract section 3: ``queued → loading → working → done``, and ``failed`` from any of the first three.
MOVES = {
    "queued": {"loading", "failed"},
    "loading": {"working", "failed"},
    "working": {"done", "failed"},
    "done": set(),
    "failed": set(),
}


def test_there_are_the_five_states_of_the_contract() -> None:
    """No more: why a job failed is in its cause."""
    assert [str(state) for state in State] == ["queued", "loading", "working", "done", "failed"]


@pytest.mark.parametrize("before", State)
def test_a_state_leads_where_the_contract_says(before: State) -> None:
    """And nowhere else."""
    assert {str(after) for after in State if can_move(before, after)} == MOVES[before]


def test_every_move_goes_forward() -> None:
    """The rank of a state never falls, so a job cannot come back to one."""
    assert all(before.rank < after.rank for before, after in EDGES)


def test_a_terminal_state_is_one_with_no_way_out() -> None:
    """``done`` and ``failed``."""
    assert {State.DONE, State.FAILED} == TERMINAL


@pytest.mark.parametrize("after", State)
def test_the_sources_of_a_state_are_its_edges_read_backwards(after: State) -> None:
    """What guards the UPDATE is the same table that describes the moves."""
    assert sources(after) == {before for before in State if after in MOVES[before]}


def test_there_are_the_causes_of_the_contract() -> None:
    """``error.code`` as clients may rely on it."""
    assert {str(cause) for cause in Cause} == {
        "cancelled",
        "start_deadline",
        "load_timeout",
        "exec_timeout",
        "stalled",
        "upstream_unreachable",
        "upstream_rejected",
        "upstream_error",
        "model_not_found",
        "truncated",
        "worker_lost",
        "client_disconnected",
        "internal",
    }


@pytest.mark.parametrize(
    "cause",
    [
        Cause.CANCELLED,
        Cause.CLIENT_DISCONNECTED,
        Cause.EXEC_TIMEOUT,
        Cause.MODEL_NOT_FOUND,
        Cause.UPSTREAM_REJECTED,
    ],
)
def test_what_would_fail_again_is_not_called_retryable(cause: Cause) -> None:
    """The request itself is at fault, or somebody wanted it so."""
    assert cause not in RETRYABLE
