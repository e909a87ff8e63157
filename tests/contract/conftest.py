"""The databases that the store's contract is tried on: each test that asks for ``engine`` runs once on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.stores import Engine, Stores, opened

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole session; it fails where PostgreSQL cannot run, since a skip would hide that."""
    with PostgresServer() as server:
        server.create("contract")
        yield server


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database, migrated; a file of its own on SQLite, one that is emptied for each test on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/foreman.db"
    else:
        url = request.getfixturevalue("postgres").url("contract")
    with opened(request.param, url) as engine:
        yield engine


@pytest.fixture
def stores(engine: Engine) -> Stores:
    """The stores on ``engine``: 2 slots, 2 tries at once per origin, artifacts inline up to 100 bytes."""
    return Stores()
