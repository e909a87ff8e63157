"""Short write transactions of several threads, made as one: on SQLite, where each would wait for all before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from foreman.errors import StaleLease, StoreUnavailable
from foreman.rounds import Rounds
from foreman.store.database import in_transaction, is_postgres, write

R = TypeVar("R")

#: Pieces committed together at most: as many as a process has threads by default, some 10 ms.
_ROUND = 32


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one thread wants written."""

    do: Callable[[], Any]
    durable: bool


def write_shared(do: Callable[[], R], *, durable: bool = True) -> R:
    """``do()`` within a write transaction, which it may share with what other threads of this process write.

    It may run in another of those threads, and twice: where a round fails by a fault of one, each is done alone. Each
    sees what those before it in the round have written. ``durable`` as for ``write``.

    Raises:
        StaleLease: ``do`` did, which must have written nothing by then; the others are not concerned.
        StoreUnavailable: nothing was written, by any of the round.
    """
    if is_postgres() or in_transaction():
        # PostgreSQL commits on many connections at once, and shares the waits for the disk by itself.
        with write(durable=durable):
            return do()
    outcome = _ROUNDS.ask(_Piece(do, durable))
    if isinstance(outcome, Exception):
        raise outcome
    result: R = outcome
    return result


def _commit(pieces: Sequence[_Piece]) -> Sequence[Any]:
    """The result of each, or what it raised."""
    try:
        return _together(pieces)
    except StoreUnavailable:
        raise
    except Exception:
        if len(pieces) == 1:
            raise
    return [_alone(each) for each in pieces]


def _together(pieces: Sequence[_Piece]) -> Sequence[Any]:
    with write(durable=any(each.durable for each in pieces)):
        return [_outcome(each) for each in pieces]


def _outcome(piece: _Piece) -> Any:  # noqa: ANN401  (whatever a piece returns)
    try:
        return piece.do()
    except StaleLease as stale:
        return stale


def _alone(piece: _Piece) -> Any:  # noqa: ANN401  (as above)
    try:
        return _together([piece])[0]
    except Exception as error:  # noqa: BLE001  (raised where it belongs, in the piece's own thread)
        return error


#: What the threads of this process want written now.
_ROUNDS: Rounds[_Piece, Any] = Rounds(_commit, _ROUND)
