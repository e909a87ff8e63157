from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foreman.store import database, schema
from foreman.store.models import TABLES
from tests.contract.conftest import ENGINES
from tests.postgres import PostgresServer
from tests.stores import Engine, in_processes, migrate_in_process, open_engine

MIGRATIONS = sorted(path.stem for path in (Path(schema.__file__).parent / "migrations").glob("[0-9]*.py"))


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create(tmp_path.name)


def test_four_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    """One applies every migration, the others wait for it and find nothing to do."""
    applied = in_processes(4, migrate_in_process, empty_url)
    assert sorted(applied) == [[], [], [], MIGRATIONS]


def test_what_is_missing_is_known_before_and_nothing_after(empty_url: str) -> None:
    """``pending`` names what ``migrate`` will do."""
    engine = open_engine(empty_url.partition(":")[0], empty_url)
    try:
        assert schema.pending() == MIGRATIONS
        assert schema.migrate() == MIGRATIONS
        assert schema.pending() == schema.migrate() == []
    finally:
        engine.database.close_all()


def test_the_models_have_the_columns_that_the_migrations_make(engine: Engine) -> None:
    """Names, and which may be null: two descriptions of one schema that cannot drift apart."""
    names = [table._meta.table_name for table in TABLES]
    with database.read():
        columns = {name: {each.name: each.null for each in engine.database.get_columns(name)} for name in names}
        tables = set(engine.database.get_tables())
    described = {
        table._meta.table_name: {field.column_name: field.null for field in table._meta.sorted_fields}
        for table in TABLES
    }
    assert columns == described
    assert tables == {*names, "schema_migration"}


def test_the_models_have_the_keys_that_the_migrations_make(engine: Engine) -> None:
    """Primary keys too: what an UPDATE of one row relies on."""
    for table in TABLES:
        meta: Any = table._meta
        with database.read():
            keys = engine.database.get_primary_keys(meta.table_name)
        assert set(keys) == {field.column_name for field in meta.get_primary_keys()}


def test_no_state_is_announced_twice_by_a_rule_of_the_database(engine: Engine) -> None:
    """Unique over (job, state) and (job, sequence), whatever the code does."""
    with database.read():
        unique = {tuple(sorted(each.columns)) for each in engine.database.get_indexes("events") if each.unique}
    assert {("job_id", "state"), ("job_id", "sequence")} <= unique
