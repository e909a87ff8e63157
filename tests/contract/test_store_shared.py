from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from foreman.errors import StaleLease, StoreUnavailable
from foreman.store import shared
from foreman.store.database import proxy, read, write
from foreman.store.models import LabelRow
from foreman.store.shared import write_shared
from tests.stores import Engine, opened, together, wait_until


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database: only there are transactions shared."""
    with opened("sqlite", f"sqlite:///{tmp_path}/foreman.db") as engine:
        yield engine


def put(name: str) -> str:
    """Write a row, and return its name."""
    LabelRow.insert(digest=name, job_id=name).execute()
    return name


def written() -> set[str]:
    """The rows that are there."""
    with read():
        return {row.digest for row in LabelRow.select()}


def in_one_round(*pieces: Callable[[], str]) -> list[str]:
    """What became of ``pieces``, all asked for while another round, with the row ``before``, was under way."""

    def before() -> str:
        wait_until(lambda: len(shared._ROUNDS._line) == len(pieces))
        return put("before")

    def ask(number: int) -> str:
        if number:
            wait_until(lambda: shared._ROUNDS._led)
        try:
            return write_shared(pieces[number - 1] if number else before)
        except (StaleLease, StoreUnavailable, ZeroDivisionError) as error:
            return type(error).__name__

    return together(len(pieces) + 1, ask)[1:]


def stale() -> str:
    """What somebody else has taken over."""
    raise StaleLease("a")


def faulty() -> str:
    """A fault of foreman's own, after something was written."""
    put("faulty")
    raise ZeroDivisionError


def too_much() -> str:
    """What the disk has no room for, as SQLite is told."""
    database: Any = proxy.obj
    database.execute_sql("PRAGMA max_page_count = 1")
    return put("x" * 10_000_000)


def test_what_meets_is_written_by_one_thread_in_one_transaction(sqlite: Engine) -> None:
    """Each sees what those before it wrote, which nobody else sees yet."""
    threads: set[int] = set()
    outside: list[set[str]] = []

    def look() -> str:
        threads.add(threading.get_ident())
        outside.append({digest for (digest,) in sqlite.rows("SELECT digest FROM labels")})
        return put(f"{LabelRow.select().count()}")

    assert sorted(in_one_round(look, look, look)) == ["1", "2", "3"]
    assert len(threads) == 1
    assert outside == [{"before"}] * 3
    assert written() == {"before", "1", "2", "3"}


@pytest.mark.usefixtures("sqlite")
def test_a_stale_lease_concerns_nobody_else() -> None:
    """Its own thread is told, and the others' writes stand."""
    assert in_one_round(lambda: put("a"), stale, lambda: put("b")) == ["a", "StaleLease", "b"]
    assert written() == {"before", "a", "b"}


@pytest.mark.usefixtures("sqlite")
def test_a_fault_in_one_is_nobody_elses() -> None:
    """What it wrote is undone, and what the others write is committed all the same, once."""
    assert in_one_round(lambda: put("a"), faulty, stale, lambda: put("b")) == [
        "a",
        "ZeroDivisionError",
        "StaleLease",
        "b",
    ]
    assert written() == {"before", "a", "b"}


@pytest.mark.usefixtures("sqlite")
def test_what_the_database_cannot_take_is_written_for_nobody_of_the_round() -> None:
    """All are told that it is unavailable, and nothing of it stays."""
    assert in_one_round(lambda: put("a"), too_much) == ["StoreUnavailable"] * 2
    assert written() == {"before"}


@pytest.mark.usefixtures("engine")
def test_within_a_transaction_it_is_part_of_that() -> None:
    """And is undone with it."""

    def both() -> str:
        return put("a") + write_shared(faulty)

    with pytest.raises(ZeroDivisionError), write():
        write_shared(both)
    assert written() == set()


@pytest.mark.usefixtures("engine")
def test_alone_it_is_a_transaction_of_its_own() -> None:
    """With its result, and with whatever it raises."""
    assert write_shared(lambda: put("a")) == "a"
    for piece, error in ((faulty, ZeroDivisionError), (stale, StaleLease)):
        with pytest.raises(error):
            write_shared(piece)
    assert written() == {"a"}


@pytest.mark.usefixtures("engine")
def test_many_threads_lose_nothing() -> None:
    """However they meet."""

    def put_many(number: int) -> list[str]:
        return [write_shared(partial(put, f"{number} {each}")) for each in range(50)]

    came = together(8, put_many)
    assert came == [[f"{number} {each}" for each in range(50)] for number in range(8)]
    assert written() == {each for names in came for each in names}
