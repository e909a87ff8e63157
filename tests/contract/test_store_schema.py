from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from foreman.store import database, schema
from foreman.store.models import TABLES
from tests.contract.conftest import ENGINES
from tests.postgres import PostgresServer
from tests.stores import PATIENCE_S, Engine, in_processes_of, migrate_release, open_engine

MIGRATIONS = sorted(path.stem for path in (Path(schema.__file__).parent / "migrations").glob("[0-9]*.py"))


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create(tmp_path.name)


def test_processes_of_two_releases_that_start_at_once_migrate_once(empty_url: str, tmp_path: Path) -> None:
    """Whoever is first, each migration is applied once and in order; the others wait, and find nothing to do."""
    ours = Path(schema.__file__).parent / "migrations"
    older = tmp_path / "older"
    older.mkdir()
    for name in MIGRATIONS[:-2]:
        shutil.copy(ours / f"{name}.py", older)
    applied = in_processes_of(migrate_release, [(empty_url, older), (empty_url, ours)] * 2)
    assert sorted(name for names in applied for name in names) == MIGRATIONS
    assert sum(bool(names) for names in applied) <= 2
    engine = open_engine(empty_url.partition(":")[0], empty_url)
    try:
        assert [name for (name,) in engine.rows("SELECT name FROM schema_migration ORDER BY id")] == MIGRATIONS
    finally:
        engine.database.close_all()


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


def test_a_second_release_waits_for_the_first_however_long_its_migrations_take(empty_url: str) -> None:
    """Longer than for any other lock: two at once would be one too many, and giving up would be a crash."""
    kind = empty_url.partition(":")[0]
    engine = open_engine(kind, empty_url, lock_timeout_s=0.1)
    begun, done = threading.Event(), threading.Event()
    applied: list[str] = []

    def first() -> None:
        with database.write():
            if kind == "postgresql":
                engine.database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (schema.ADVISORY_LOCK,))
                # Migrations are not silent, and what stands for them is.
                engine.database.execute_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            begun.set()
            done.wait(PATIENCE_S)

    threads = [threading.Thread(target=first), threading.Thread(target=lambda: applied.extend(schema.migrate()))]
    try:
        threads[0].start()
        assert begun.wait(PATIENCE_S)
        threads[1].start()
        threads[1].join(0.5)
        assert threads[1].is_alive()
        assert applied == []
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert applied == MIGRATIONS
    finally:
        done.set()
        engine.database.close_all()


def test_migrations_of_a_newer_release_are_known_for_what_they_are(engine: Engine) -> None:
    """An older release that is started on them by mistake can say so."""
    assert schema.unknown() == []
    with database.write():
        engine.database.execute_sql(
            "INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01 00:00:00')"
        )
    try:
        assert schema.unknown() == ["9999_later"]
        assert schema.pending() == schema.migrate() == []
    finally:
        with database.write():
            engine.database.execute_sql("DELETE FROM schema_migration WHERE name = '9999_later'")


def test_an_empty_database_lacks_every_migration_of_this_release() -> None:
    """``names`` is what a dry run shows where there is no database yet."""
    assert schema.names() == MIGRATIONS
